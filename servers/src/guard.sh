# Ends the servers that live in the directory $1 and removes it, once standard input is closed: by whoever
# started them, or by the system when that process died. A line on standard input: nothing is done.
trap '' HUP INT TERM
read -r _ && exit 0

# A process whose working directory is there, or below. Not a person's shell: servers have no terminal.
# PostgreSQL is asked first: then it waits for its children and frees its shared memory.
end() {
    read -r status <"/proc/$1/stat" || return 1
    set -- "$1" ${status##*) }
    [ "$6" = 0 ] || return 1
    if [ "$round" -lt 50 ] && [ -e "/proc/$1/cwd/postmaster.pid" ]; then
        kill -QUIT "$1" && kill -CONT "$1"
    else
        kill -KILL "$1"
    fi
}

round=0
while [ "$round" -lt 500 ]; do
    found=
    for entry in $(find /proc -mindepth 2 -maxdepth 2 -name cwd \( -lname "$1" -o -lname "$1/*" \)); do
        process=${entry#/proc/}
        end "${process%/cwd}" && found=1
    done
    [ -z "$found" ] && break
    round=$((round + 1))
    sleep 0.02
done 2>/dev/null

# Where it was killed before, the number of its shared memory stands in this file.
find "$1" -name postmaster.pid -exec sed -n 7p {} \; 2>/dev/null | while read -r _ memory; do
    ipcrm -m "$memory" 2>/dev/null
done
rm -rf -- "$1"
