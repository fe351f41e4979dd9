# SPDX-License-Identifier: Apache-2.0
# Completion of tgf and tgfc in bash 4 and newer.

# The model on the command line: the first .tgf there is.
_tgf_model() {
    local word
    for word in "${COMP_WORDS[@]:1}"; do
        word=${word/#\~\//$HOME/}
        if [[ $word == *.tgf && -r $word ]]; then
            printf '%s\n' "$word"
            return 0
        fi
    done
    return 1
}

_tgf_strategies() {
    local model
    model=$(_tgf_model) && sed -nE 's/^[[:blank:]]*strategy[[:blank:]]+([[:alpha:]_][[:alnum:]_]*).*/\1/p' "$model"
}

_tgf_axes() {
    local model
    model=$(_tgf_model) && sed -nE 's/#.*//; s/^[[:blank:]]*axis[[:blank:]]+//p' "$model" |
        grep -oE '[[:alpha:]_][[:alnum:]_]*[[:blank:]]*=' | tr -d ' \t='
}

# What begins with WORD among the values of KINDS... (words, @file, @folder, @strategy, @axis, @any).
_tgf_values() { # WORD KINDS...
    local word=$1 kind words=''
    shift
    for kind; do
        case $kind in
        @file) compgen -f -- "$word" ;;
        @folder) compgen -d -- "$word" ;;
        @strategy) words+=" $(_tgf_strategies)" ;;
        @axis) compgen -W "$(_tgf_axes)" -S = -- "$word" ;;
        @any) ;;
        *) words+=" $kind" ;;
        esac
    done
    compgen -W "$words" -- "$word"
}

# Fills COMPREPLY. The options: a line each, its name and the kinds of its value.
_tgf_complete() { # FIRST-WORD OPTIONS
    local word=${COMP_WORDS[COMP_CWORD]} option='' before=''
    local -a kinds
    if ((COMP_CWORD > $1)); then option=${COMP_WORDS[COMP_CWORD - 1]}; fi
    if [[ $word == = ]]; then # --emit=: bash has split the word in three
        word=
    elif [[ $option == = ]]; then
        option=${COMP_WORDS[COMP_CWORD - 2]}
    elif [[ $word == -?*=* ]]; then
        option=${word%%=*} before=${word%%=*}= word=${word#*=}
    elif [[ $word == -D?* ]]; then
        option=-D before=-D word=${word#-D}
    fi
    COMPREPLY=()
    while read -ra kinds; do
        if [[ $option == "${kinds[0]}" && ${#kinds[@]} -gt 1 ]]; then
            mapfile -t COMPREPLY < <(_tgf_values "$word" "${kinds[@]:1}")
            case " ${kinds[*]} " in
            *' @file '* | *' @folder '*) compopt -o filenames ;;
            *' @axis '*) compopt -o nospace ;;
            esac
            COMPREPLY=("${COMPREPLY[@]/#/$before}")
            return
        fi
    done <<<"$2"
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(cut -d ' ' -f 1 <<<"$2")" -- "$word")
    else
        compopt -o filenames
        mapfile -t COMPREPLY < <(
            compgen -f -X '!*.tgf' -- "$word"
            compgen -d -- "$word"
        )
    fi
}
