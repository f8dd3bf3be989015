#!/bin/sh
# Makes the release beside this file the live one, without a network and without root. As with
# `edge deploy`, whatever fails or is cut, the old release or the new one is live, and whole.

set -f
export LC_ALL=C

# Filled in as the bundle is written: the board, and how its release runs a model.
board=
arch=
infer=

usage='usage: sh install.sh [--root DIR] [--no-smoke]    make the release live on this machine
       sh install.sh --image DIR                  lay it out in a file system that no machine runs
DIR holds releases, store and the link current; ~/.local/share/edge by default.'

say() {
  printf 'install.sh: %s\n' "$*" >&2
}

fail() {
  say "$*"
  exit 3
}

misused() {
  printf '%s\n' "install.sh: $1" "$usage" >&2
  exit 2
}

# --- the bundle -----------------------------------------------------------------------------------

# Sets `files`, a line `<sha256> <size> <mode> <path>` each, the release's `id`, and `runner`, the
# hash of its program. The manifest has one value a line, and the id is the beginning of its hash.
read_bundle() {
  [ -r manifest.json ] && [ -r SHA256SUMS ] ||
    fail "there is no bundle in $PWD: manifest.json and SHA256SUMS belong beside install.sh"
  files=$(awk -F'"' '
    $2 == "executable" { mode = $3 ~ /true/ ? 555 : 444 }
    $2 == "path" { path = $4 }
    $2 == "sha256" { sha = $4 }
    $2 == "size_bytes" { gsub(/[^0-9]/, "", $3); print sha, $3, mode, path }' manifest.json)
  read -r digest _ <SHA256SUMS
  id=$(printf '%.16s' "$digest")
  runner=$(printf '%s\n' "$files" | sed -n 's|^\([0-9a-f]*\) .* bin/edge-run$|\1|p')
  listed=$(printf '%s  manifest.json\n' "$digest"
    printf '%s\n' "$files" | awk '{ print $1 "  " $4 }')
  [ -n "$runner" ] && [ "$(cat SHA256SUMS)" = "$listed" ] ||
    fail "manifest.json and SHA256SUMS in $PWD do not say the same: copy the bundle again"
}

# Prints a line `<path>: FAILED` for each file of a folder that is not what its SHA256SUMS says.
damaged() {
  [ -z "$hasher" ] || (cd "$1" && $hasher -c SHA256SUMS 2>/dev/null) | sed -n '/: FAILED/p'
}

# Stops at a damaged bundle before anything is changed. Where nothing here can hash, the store does
# so with all that it takes in.
check_bundle() {
  wrong=$(printf '%s\n' "$files" | while read -r _ size _ path; do
    [ -f "$path" ] && [ "$(wc -c <"$path")" -eq "$size" ] || echo "$path: FAILED"
  done)
  [ -n "$wrong" ] || wrong=$(damaged .)
  [ -z "$wrong" ] ||
    fail "the bundle in $PWD is damaged ($(first_line "$wrong")): copy it again; nothing was" \
      changed
}

# Of programs: the word size, the byte order and the processor.
kind_of() {
  od -An -tx1 -j4 -N2 "$1" 2>/dev/null
  od -An -tx1 -j18 -N2 "$1" 2>/dev/null
}

first_line() {
  printf '%s\n' "$1" | sed -n '/./{p;q;}'
}

last_line() {
  printf '%s\n' "$1" | sed -n '/./h;${x;p;}'
}

# Not in place of this shell, so that what a shell says of a crash goes where the rest goes.
as_child() {
  "$@"
  return "$?"
}

# --- the store ------------------------------------------------------------------------------------

# Gives its input to the store and prints the answers. Its program is a fresh copy each time, which
# compares itself with its hash: one that was damaged on this disk is not asked.
talk() {
  if ! why=$(mkdir -p "$root/store" 2>&1 && cp bin/edge-run "$copy" 2>&1 && chmod 755 "$copy" 2>&1)
  then
    printf 'err 11 %s\n' "$(last_line "$why")"
    return
  fi
  said=$(as_child "$copy" store --root "$root" --owner "$who%20pid%20$$" \
    --install-self "$runner" 2>&1)
  code=$?
  printf '%s\n' "$said"
  case $said in
    'ok '* | 'err '*) ;;
    *)
      said=$(last_line "$said")
      printf 'err 11 %s (%s; exit code %s): %s\n' "its program does not start" \
        "${said##*.part: }" "$code" \
        "is the disk mounted noexec, or this system's C library missing or too old?"
      ;;
  esac
}

# What a failure left.
live() {
  if [ "$root/current" -ef "$release" ]; then
    echo "release $id is live"
  else
    echo 'what was live stays live'
  fi
}

# True if $answers has all that was asked for; 1 if the store found damage and removed it, so that
# the same once more mends it.
accepted() {
  refusal=$(printf '%s\n' "$answers" | sed -n '/^err /{s/^err //p;q;}')
  case $refusal in
    '13 '*'deploy it again' | '13 '*' in the store, and removed: '*) return 1 ;;
    '13 '*) fail "the bundle in $PWD is damaged (${refusal#* }): copy it again; $(live)" ;;
    '12 '*)
      holder=$(printf '%s\n' "${refusal#* }" | sed 's/%20/ /g')
      fail "$root is $holder: try again when that has ended; $(live)"
      ;;
    ?*) fail "the store in $root: ${refusal#* }; $(live)" ;;
  esac
  case $answers in
    *'ok bye') ;;
    *) fail "the store in $root ended before it was done; $(live)" ;;
  esac
}

put_all() {
  printf '%s\n' "$files" | while read -r sha size mode path; do
    printf 'put %s %s 0 %s\n' "$sha" "$size" "$mode"
    [ "$size" -eq 0 ] || { printf '%s %s\n' "$size" "$size" && cat "$path"; } || exit
  done
}

link_all() {
  printf '%s\n' "$files" | awk -v head="release $id" -v bytes="$(wc -c <manifest.json)" '
    { lines = lines $4 " " $1 "\n" }
    END { printf "%s %d %d\n%s", head, NR, bytes, lines }'
  cat manifest.json
}

# Has the release beside the live one, every byte of it as it should be.
place() {
  answers=$({ put_all && link_all && echo quit; } | talk)
  accepted || return
  case $answers in *'ok created'*) created=yes ;; esac
}

# Runs each model once, on zeros, by the release itself.
gate() {
  free=$(awk '/^MemAvailable:/ { printf "%.0f", $2 * 1024 }' /proc/meminfo 2>/dev/null)
  printf '%s\n' "$files" | while read -r _ _ _ path; do
    case $path in models/*) ;; *) continue ;; esac
    say "running $path"
    # The limit is of processor time: a model that never ends must not keep an updater forever.
    said=$(cd "$release" && ulimit -t 300 && as_child bin/edge-run infer $infer \
      ${free:+--memory "$free"} --model "$path" 2>&1 </dev/null >/dev/null)
    code=$?
    [ "$code" -eq 0 ] && continue
    why=$(printf '%s\n' "$said" | sed -n 's/^edge-run: //p')
    fail "$path does not run on this machine (exit code $code:" \
      "$(last_line "${why:-$said}")); $(live)"
  done || exit
}

enter() {
  answers=$(printf 'switch %s\nsettle %s %d\n%squit\n' "$id" "$id" "${#line}" "$line" | talk)
  accepted
}

# True if the release is live and the log says so: then it needs no more than to be verified.
told() {
  [ "$root/current" -ef "$release" ] || return
  case $(tail -n 1 "$root/deployments.log" 2>/dev/null) in *" $id "*) ;; *) return 1 ;; esac
}

# After a failure: takes back what is not live; what is live, the store does not drop.
take_back() {
  code=$?
  trap '' HUP INT TERM
  rm -f "$copy"
  if [ "$code" -ne 0 ]; then
    request=sweep
    case $created$answers in yes* | *'ok created'*) request="drop $id" ;; esac
    printf '%s\nquit\n' "$request" | talk >/dev/null 2>&1
    rm -f "$copy"
  fi
  exit "$code"
}

install() {
  runs=$root/store/$runner
  case $("$runs" store --root "$root" --settled "$id" 2>/dev/null) in
    'ok settled'*)
      printf '%s\n' "release $id is live already in $root"
      return
      ;;
  esac
  [ "$(kind_of /bin/sh)" = "$(kind_of bin/edge-run)" ] ||
    fail "this bundle is for $arch (board $board), and this machine's programs are for another" \
      "processor ($(uname -m)); nothing was changed"
  check_bundle
  copy=$root/store/.$runner.$(od -An -tx1 -N4 /dev/urandom | tr -d ' \n').part
  created=
  trap take_back EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  if told; then
    say "verifying release $id, which is live in $root"
    smoke= line=
  else
    say "writing release $id to $root"
  fi
  # Damage is found one file after the other.
  tries=$(printf '%s\n' "$files" | wc -l)
  until place && { [ -z "$smoke" ] || gate; } && enter; do
    [ "$tries" -gt 0 ] || fail "the store in $root: ${refusal#* }: is its disk failing? $(live)"
    tries=$((tries - 1))
    say "${refusal#* }: doing so"
  done
  printf '%s\n' "release $id is live in $root"
}

# --- a file system that no machine runs -----------------------------------------------------------

# The same as the store makes, by what every system has.
lay_out() {
  [ -n "$hasher" ] || fail "--image needs sha256sum or shasum"
  check_bundle
  # A link in there leads somewhere else here.
  for folder in "$root" "$root/store" "$root/releases"; do
    [ ! -L "$folder" ] || fail "$folder is a symbolic link: name the folder itself"
  done
  part=$root/releases/.$id.part
  trap 'rm -rf "$part"' EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  mkdir -p "$root/store" "$root/releases" && rm -rf "$part" && mkdir "$part" || exit 3
  printf '%s\n' "$files" | while read -r sha _ mode path; do
    blob=$root/store/$sha
    if ! cmp -s "$path" "$blob"; then
      new=$root/store/.$sha.part
      rm -f "$new" && cp "$path" "$new" && chmod 444 "$new" && mv -f "$new" "$blob" || exit 3
    fi
    [ "$mode" = 444 ] || chmod "$mode" "$blob" || exit 3
    mkdir -p "$part/${path%/*}" || exit 3
    ln "$blob" "$part/$path" || fail "$root is on a file system without hard links: take another"
  done || exit
  cp manifest.json SHA256SUMS "$part" && chmod 444 "$part/manifest.json" "$part/SHA256SUMS" &&
    rm -rf "$release" && mv "$part" "$release" || exit 3
  wrong=$(damaged "$release")
  [ -z "$wrong" ] || fail "$release came out damaged ($(first_line "$wrong")): is its disk failing?"
  sync
  told || {
    ln -sfn "releases/$id" "$root/current" && printf '%s' "$line" >>"$root/deployments.log"
  } || exit 3
  sync
  printf '%s\n' "release $id is laid out in $root"
}

# --- the command ----------------------------------------------------------------------------------

root=${HOME:+$HOME/.local/share/edge}
mode=install
smoke=yes
flags=
while [ "$#" -gt 0 ]; do
  case $1 in
    --root | --image)
      [ -n "${2:-}" ] || misused "$1 needs a folder"
      root=$2
      [ "$1" = --root ] || mode=lay_out
      shift
      ;;
    --no-smoke)
      smoke=
      flags=' --no-smoke'
      ;;
    -h | --help)
      printf '%s\n' "$usage"
      exit 0
      ;;
    *) misused "unknown argument $1" ;;
  esac
  shift
done
[ -n "$root" ] || misused "HOME is not set: say --root DIR"
case $root in /*) ;; *) root=$PWD/$root ;; esac
umask 022
CDPATH='' cd -- "$(dirname -- "$0")" || exit 3
who=$(printf '%s@%s' "$(id -un)" "$(uname -n)" | tr -c 'A-Za-z0-9@._:+-' _)
hasher=
if command -v sha256sum >/dev/null; then
  hasher=sha256sum
elif command -v shasum >/dev/null; then
  hasher='shasum -a 256'
fi
read_bundle
release=$root/releases/$id
line="$(date -u +%Y-%m-%dT%H:%M:%S+00:00) $id $who board=$board deploy$flags
"
"$mode"
