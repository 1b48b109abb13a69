# Completions of gambi for fish: gambi completions fish | source
function __gambi_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l gambi (string replace -r '.*/' '' -- $words[1])
    set -l found (command $gambi completions fish -- $words[2..-1] "$current" 2>/dev/null)
    if test "$found[1]" = :files
        set -l flag (string match -r '^--[^=]+=' -- $current)
        __fish_complete_path (string replace -r '^--[^=]+=' '' -- $current) | string replace -r -- '^' "$flag"
    else if set -q found[1]
        printf '%s\n' $found
    end
end
complete -c gambi -f -a '(__gambi_complete)'
complete -c gambiarra -f -a '(__gambi_complete)'
