#compdef gambi gambiarra
# Completions of gambi for zsh: source <(gambi completions zsh), or as a file called _gambi in a directory of $fpath.
_gambi() {
  local -a found
  found=("${(@f)$("${words[1]:t}" completions zsh -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  [[ $PREFIX == --*=* ]] && compset -P '*='
  if [[ $found[1] == :files ]]; then
    _files
  elif [[ -n $found[1] ]]; then
    _describe -V 'gambi' found
  fi
}
if [[ $funcstack[1] == _gambi ]]; then
  _gambi "$@"
else
  compdef _gambi gambi gambiarra
fi
