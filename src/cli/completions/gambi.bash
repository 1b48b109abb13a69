# Completions of gambi for bash 4 and later: source <(gambi completions bash)
_gambi() {
  local IFS=$'\n' gambi=${COMP_WORDS[0]##*/}
  COMPREPLY=($("$gambi" completions bash -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
  if [[ ${COMPREPLY[0]-} == :files ]]; then
    COMPREPLY=()
    compopt -o default
  fi
}
complete -F _gambi gambi gambiarra
