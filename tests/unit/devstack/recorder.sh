#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Stands in for DevStack's stack.sh, unstack.sh and clean.sh: sources a plugin as they do, with every function that
# DevStack has (functions.txt) and no other.
#
#   recorder.sh PLUGIN MODE [PHASE...]
#
# Each call of the plugin becomes a line of $RECORD, its words separated by tabs; a line PHASE says in which phase the
# next ones are. Questions are answered as DevStack answers them, and options are written to real files, all of them
# below $ROOT. What is neither a function of DevStack nor a program in $PATH is recorded as UNKNOWN.
# shellcheck disable=SC2034,SC2317  # plugins read the variables and call the functions
set -o errexit -o nounset

# What DevStack defines, as far as plugins of Nova and Placement go by it.
STACK_USER=$(id -u)
DEST=$ROOT/opt/stack
DEVSTACK_VENV=$DEST/data/venv
NOVA_CONF=$ROOT/etc/nova/nova.conf
NOVA_CPU_CONF=$ROOT/etc/nova/nova-cpu.conf
NOVA_FILTERS=ComputeFilter,ComputeCapabilitiesFilter,SameHostFilter,DifferentHostFilter
PLACEMENT_CONF=$ROOT/etc/placement/placement.conf
ENABLE_DEBUG_LOG_LEVEL=True
VIRT_DRIVER=${VIRT_DRIVER:-libvirt}
ENABLED_SERVICES=${ENABLED_SERVICES:-}
DISABLED_SERVICES=${DISABLED_SERVICES:-}

record() {
    local IFS=$'\t'
    printf '%s\n' "$*" >>"$RECORD"
}

command_not_found_handle() {
    record UNKNOWN "$@"
    return 127
}

# Only below $ROOT, which is always its last argument.
sudo() {
    record sudo "$@"
    [[ ${!#} == "$ROOT"/* ]] && "$@"
}

# The answers, and what changes something here. Questions about services are not recorded.

answer_is_service_enabled() {
    local service
    for service in "$@"; do
        if [[ ",$ENABLED_SERVICES," == *",$service,"* ]]; then
            return 0
        fi
    done
    return 1
}

answer_enable_service() {
    local service
    for service in "$@"; do
        if [[ ",$DISABLED_SERVICES," != *",$service,"* ]] && ! answer_is_service_enabled "$service"; then
            ENABLED_SERVICES+=",$service"
        fi
    done
}

answer_trueorfalse() {
    case ${!2:-} in
        1 | [yY]es | YES | true | True | TRUE) echo True ;;
        0 | [nN]o | NO | false | False | FALSE) echo False ;;
        *) echo "$1" ;;
    esac
}

answer_get_python_exec_prefix() {
    echo "$DEVSTACK_VENV/bin"
}

# The lines of an option of a file: FILE SECTION OPTION
ini_lines() {
    local line section="" set="^$3[[:space:]]*="
    while IFS= read -r line; do
        if [[ $line == "["*"]" ]]; then
            section=$line
        elif [[ $section == "[$2]" && $line =~ $set ]]; then
            printf '%s\n' "$line"
        fi
    done <"$1"
}

# DevStack puts the lines of all values one after the other and takes away the first name alone.
answer_iniget() {
    local lines
    lines=$(ini_lines "$@" | tr '\n' ' ')
    read -r lines <<<"${lines#*=}"
    echo "$lines"
}

answer_iniget_multiline() {
    local lines
    mapfile -t lines < <(ini_lines "$@")
    lines=("${lines[@]#*=}")
    read -r lines <<<"${lines[*]}"
    echo "$lines"
}

# The values stand below the section's header, which is made if it lacks: FILE SECTION OPTION VALUE...
answer_iniset_multiline() {
    local file=$1 header="[$2]" option=$3 set="^$3[[:space:]]*=" lines=() line section="" value
    shift 3
    [[ ! -f $file ]] || mapfile -t lines <"$file"
    if ! printf '%s\n' "${lines[@]}" | grep -qxF "$header"; then
        lines+=("" "$header")
    fi
    for line in "${lines[@]}"; do
        [[ $line != "["*"]" ]] || section=$line
        [[ $section == "$header" && $line =~ $set ]] || printf '%s\n' "$line"
        [[ $line != "$header" ]] || for value in "$@"; do printf '%s = %s\n' "$option" "$value"; done
    done >"$file.new"
    mv "$file.new" "$file"
}

answer_iniset() {
    answer_iniset_multiline "$1" "$2" "$3" "${*:4}"
}

answer_iniadd() {
    local values
    read -ra values <<<"$(answer_iniget_multiline "$1" "$2" "$3")"
    answer_iniset_multiline "$1" "$2" "$3" "${values[@]}" "${@:4}"
}

# run_process and stop_process look for themselves whether the service is enabled.
call() {
    case $1 in
        is_service_enabled | get_python_exec_prefix | trueorfalse) ;;
        run_process | stop_process)
            ! answer_is_service_enabled "$2" || record "$@"
            ;;
        *) record "$@" ;;
    esac
    if declare -F "answer_$1" >/dev/null; then
        "answer_$1" "${@:2}"
    fi
}

define_functions() {
    local name
    while read -r name; do
        eval "$name() { call $name \"\$@\"; }"
    done < <(grep -v '^#' "${BASH_SOURCE[0]%/*}/functions.txt")
}

main() {
    local plugin=$1 mode=$2 phase
    shift 2
    define_functions
    record PHASE settings
    # shellcheck source=/dev/null
    source "$plugin/settings"
    if [[ $mode != stack ]]; then
        set +o errexit # as unstack.sh and clean.sh
        record PHASE "$mode"
        # shellcheck source=/dev/null
        source "$plugin/plugin.sh" "$mode"
        return
    fi
    for phase in "$@"; do
        record PHASE "$mode" "$phase"
        # shellcheck source=/dev/null
        source "$plugin/plugin.sh" "$mode" "$phase"
    done
}

main "$@"
