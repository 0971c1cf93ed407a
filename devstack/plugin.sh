#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# DevStack sources this at each phase of stack.sh, in unstack.sh and in clean.sh, after settings:
# plugin.sh MODE [PHASE]

# shellcheck source=devstack/lib/kongming_sched
source "$KONGMING_DIR/devstack/lib/kongming_sched"

if is_service_enabled kongming; then
    case "$1 ${2:-}" in
        "stack install")
            echo_summary "Installing KongMing"
            install_kongming
            ;;
        "stack post-config")
            echo_summary "Configuring KongMing"
            configure_kongming
            ;;
        "stack extra")
            echo_summary "Starting KongMing"
            configure_kongming_nova_compute
            start_kongming
            ;;
        "unstack ")
            stop_kongming
            ;;
        "clean ")
            cleanup_kongming
            ;;
    esac
fi
