# SPDX-License-Identifier: Apache-2.0
# Completion of tgf and tgfc in zsh.

# The model on the command line: the first .tgf there is.
_tgf_model() {
    local word
    for word in ${words[2,-1]}; do
        word=${${(Q)word}/#\~\//$HOME/}
        if [[ $word == *.tgf && -r $word ]]; then
            print -r -- $word
            return 0
        fi
    done
    return 1
}

_tgf_strategies() {
    local model
    model=$(_tgf_model) || { _message 'strategy of the model'; return }
    compadd -- ${(f)"$(sed -nE 's/^[[:blank:]]*strategy[[:blank:]]+([[:alpha:]_][[:alnum:]_]*).*/\1/p' $model)"}
}

_tgf_axes() {
    local model
    model=$(_tgf_model) || { _message 'AXIS=N'; return }
    compadd -S = -- ${(f)"$(sed -nE 's/#.*//; s/^[[:blank:]]*axis[[:blank:]]+//p' $model |
        grep -oE '[[:alpha:]_][[:alnum:]_]*[[:blank:]]*=' | tr -d ' \t=')"}
}

# One of these words, or a file.
_tgf_words_files() { # WORDS...
    local -a given=(${@:#-*})
    compadd -a given
    _files
}
