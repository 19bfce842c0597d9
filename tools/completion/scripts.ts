// The completion scripts of three shells. Names of domains are asked for when the key is pressed.

import { shellQuoted as quoted } from '../shell-quoted.ts';
import { type CompletedCommand, GLOBAL_OPTIONS } from './words.ts';

export type Shell = 'bash' | 'zsh' | 'fish';

/** One name a line: the third column of `xl vm-list`, which may hold blanks. */
const NAMES = `vm-list 2>/dev/null | sed -n '2,$ { s/^[^ ]*  *[0-9]*    //; s/ *$//; p; }'`;

const kindsOf = ({ domains, files }: CompletedCommand): string => `${domains ? 'd' : ''}${files ? 'f' : ''}`;

function bash(commands: readonly CompletedCommand[]): string {
  const cases = commands.map(
    command =>
      `    ${command.name}) options=${quoted(command.options.join(' '))}; words=${quoted(command.words.join(' '))}; kinds=${quoted(kindsOf(command))} ;;`,
  );
  return `# bash completion for xl: eval "$(xl completion bash)"
_xl_names() { "\${_xl_program[@]}" ${NAMES}; }
_xl() {
  local cur=\${COMP_WORDS[COMP_CWORD]} command= options= words= kinds= i name
  local -a _xl_program=("\${COMP_WORDS[0]}")
  # The shell takes the = of --host=NAME for a word of its own.
  for ((i = 1; i < COMP_CWORD; i++)); do
    case \${COMP_WORDS[i]} in
    --host)
      [[ \${COMP_WORDS[i + 1]} == = ]] && ((i++))
      ((i++))
      ((i < COMP_CWORD)) && _xl_program+=(--host "\${COMP_WORDS[i]}") ;;
    -*) ;;
    *) command=\${COMP_WORDS[i]}; break ;;
    esac
  done
  COMPREPLY=()
  case $command in
    '') options=${quoted(GLOBAL_OPTIONS.join(' '))}; words=${quoted(commands.map(({ name }) => name).join(' '))} ;;
${cases.join('\n')}
  esac
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$cur"))
    [[ \${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
    return 0
  fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
  if [[ $kinds == *d* ]]; then
    while IFS= read -r name; do
      [[ $name == "$cur"* ]] && COMPREPLY+=("$(printf %q "$name")")
    done < <(_xl_names)
  fi
  if [[ $kinds == *f* ]]; then
    compopt -o filenames 2>/dev/null
    while IFS= read -r name; do COMPREPLY+=("$name"); done < <(compgen -f -- "$cur")
  fi
  return 0
}
complete -F _xl xl
`;
}

function zsh(commands: readonly CompletedCommand[]): string {
  const described = commands.map(
    ({ name, description }) => `    ${quoted(`${name}:${description.replaceAll(':', '\\:')}`)}`,
  );
  const cases = commands.map(
    command =>
      `    ${command.name}) options=(${command.options.join(' ')}); choices=(${command.words.join(' ')}); kinds=${quoted(kindsOf(command))} ;;`,
  );
  return `#compdef xl
# zsh completion for xl: eval "$(xl completion zsh)"
_xl() {
  local command= kinds= i
  local -a program=($words[1]) commands options choices names
  commands=(
${described.join('\n')}
  )
  for ((i = 2; i < CURRENT; i++)); do
    case $words[i] in
    --host) ((i++)); ((i < CURRENT)) && program+=(--host $words[i]) ;;
    --host=*) program+=($words[i]) ;;
    -*) ;;
    *) command=$words[i]; break ;;
    esac
  done
  if [[ -z $command ]]; then
    _describe command commands
    compadd -- ${GLOBAL_OPTIONS.join(' ')}
    return
  fi
  case $command in
${cases.join('\n')}
  esac
  if [[ $words[CURRENT] == -* ]]; then compadd -S '' -- \${(M)options:#*=}; compadd -- \${options:#*=}; return; fi
  compadd -- $choices
  if [[ $kinds == *d* ]]; then names=(\${(f)"$($program ${NAMES})"}); compadd -- $names; fi
  if [[ $kinds == *f* ]]; then _files; fi
}
compdef _xl xl
`;
}

function fish(commands: readonly CompletedCommand[]): string {
  const lines = commands.flatMap(command => {
    const { name, description, options, words, domains, files } = command;
    const after = `-n '__fish_seen_subcommand_from ${name}'`;
    return [
      `complete -c xl -n __fish_use_subcommand -a ${name} -d ${fishQuoted(description)}`,
      ...options.map(option => {
        const long = option.replace(/^-+/, '').replace(/=$/, '');
        return `complete -c xl ${after} ${option.startsWith('--') ? '-l' : '-s'} ${long}${option.endsWith('=') ? ' -r' : ''}`;
      }),
      ...(words.length > 0 ? [`complete -c xl ${after} -a ${fishQuoted(words.join(' '))}`] : []),
      ...(domains ? [`complete -c xl ${after} -a '(__xl_names)'`] : []),
      ...(files ? [`complete -c xl ${after} -F`] : []),
    ];
  });
  return `# fish completion for xl: xl completion fish | source
function __xl_names
  xl ${NAMES}
end
complete -c xl -f
complete -c xl -n __fish_use_subcommand -l host -r -d 'Which host of this machine'
${lines.join('\n')}
`;
}
const fishQuoted = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;

export const SCRIPTS: Readonly<Record<Shell, (commands: readonly CompletedCommand[]) => string>> = { bash, zsh, fish };
