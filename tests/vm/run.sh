#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# run.sh BUILD: runs the tests of a build on the oldest kernel that bonxie supports with io_uring, 6.1, as
# Debian 12 ships it: in a virtual machine, on KVM or, where that does not boot the kernel, emulated.
#
# The kernel is Debian's package, unpacked and not installed. The machine's root is a file system made of
# this machine's own packages, so that the programs of the build find the libraries that they were linked
# with, and of the source and the build at the paths where they are. tests/vm/init is its first process;
# it leaves ctest's verdict on that file system, from which it is read when the machine is off.
#
# BUILD/vm/results.xml has the results, BUILD/vm/console.log what the machine said. Needs qemu-system-x86,
# e2fsprogs and apt (cmake/deps.sh --vm); exits 77 with the reason without them. No root, no network but
# for the kernel's package.
#
# Environment: BONXIE_VM_ACCEL=kvm or tcg takes no other; BONXIE_TEST_NAMES is a pattern of test names;
# BONXIE_SCALE as everywhere.
set -uo pipefail

build=$(realpath "$1")
source=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
work=$build/vm
image=$work/root.img
console=$work/console.log
results=$work/results.xml

memory_mib=3072
start_seconds=120     # from power to the first line of tests/vm/init, emulated on a busy machine
free_mib=2048         # room that the tests have on the file system; it is sparse
run_seconds_kvm=3600  # ends a machine that hangs; each test in it has its own bound
run_seconds_tcg=14400 # an emulated processor is 10 to 20 times slower

# What the tests call, and ctest. Each brings what it depends on.
packages=(
    bash dash coreutils cmake findutils gawk mawk grep sed diffutils procps util-linux mount iproute2 python3
    curl openssl netcat-openbsd wrk apache2-utils nghttp2-client slowhttptest redis-tools libnss-myhostname tzdata
    libck0 liburing2 libssl3 libbenchmark1debian
)

skip() {
    echo "skipped: $*"
    exit 77
}

fail() {
    echo "tests/vm: $*"
    exit 1
}

need() {
    command -v "$1" >/dev/null || skip "$1 is not installed"
}

# ---- The kernel ----

# Prints the path of the kernel's image.
get_kernel() {
    local package folder
    package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-image-6\.1\..*\)/\1/p' | head -n 1)
    [[ -n $package ]] || {
        echo "apt has no 6.1 kernel"
        return 1
    }
    folder=$work/$package
    if [[ ! -d $folder ]]; then
        rm -rf "$folder.new"
        mkdir -p "$folder.new"
        (cd "$folder.new" && apt-get -q -o Acquire::Retries=3 download "$package" &&
            dpkg -x "$package"_*.deb . && rm "$package"_*.deb) >"$work/kernel.log" 2>&1 || {
            echo "apt-get download $package fails: $(tail -n 1 "$work/kernel.log")"
            return 1
        }
        mv "$folder.new" "$folder"
    fi
    echo "$folder"/boot/vmlinuz-*
}

# ---- The root ----

# Prints the names of the packages that are installed here and what they depend on.
list_packages() {
    local installed=()
    for package in "${packages[@]}"; do
        if dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -q '^installed'; then
            installed+=("$package")
        fi
    done
    apt-cache depends --recurse --installed --no-suggests --no-recommends --no-conflicts --no-breaks \
        --no-replaces --no-enhances "${installed[@]}" | grep -E '^[a-z0-9]+[^:]*$' | sort -u
}

# A package may be there for another architecture as well.
list_files_of() {
    dpkg -L "$1:$(dpkg --print-architecture)" 2>/dev/null || dpkg -L "$1" 2>/dev/null
}

# Prints every file that the root takes from this machine, absolute.
list_files() {
    list_packages | while read -r package; do
        list_files_of "$package"
    done | grep -E '^/' | grep -vE '^/(usr/share/(doc|man|locale|info)/|\.$)'
    # What packages' scripts made, not dpkg.
    find /etc/alternatives /etc/ssl -mindepth 1
    find /usr/bin /usr/sbin -lname '/etc/alternatives/*'
    printf '%s\n' /bin/sh /etc/{passwd,group,hosts,host.conf,nsswitch.conf,services,protocols,ld.so.cache,ld.so.conf}
    find /etc/ld.so.conf.d -type f
}

make_root() {
    local root=$work/root link
    rm -rf "$root"
    mkdir -p "$root"
    for link in bin sbin lib lib32 lib64 libx32; do # a package may say /bin where the file is in /usr/bin
        [[ ! -L /$link ]] || { cp -P "/$link" "$root/" && mkdir -p "$root/usr/$link"; }
    done
    mkdir -p "$root"/{bonxie,dev,proc,run,sys,tmp,root,var/tmp} "$root$source" "$root$build"
    chmod 1777 "$root/tmp" "$root/var/tmp"
    list_files | sort -u | while read -r path; do
        [[ -d $path && ! -L $path ]] || [[ ! -r $path && ! -L $path ]] || echo "$path"
    done >"$work/files.txt"
    tar -C / --ignore-failed-read -cPf - -T "$work/files.txt" 2>>"$work/root.log" |
        tar -C "$root" --keep-directory-symlink -xf - 2>>"$work/root.log" || return 1
    tar -C "$source" --exclude=./build --exclude='./build-*' --exclude=./.git -cf - . |
        tar -C "$root$source" -xf - || return 1
    (cd "$build" && {
        printf '%s\n' tests bin
        find . -name CTestTestfile.cmake
        find . -maxdepth 1 -name 'libbonxie*'
    } | tar -cf - -T -) | tar -C "$root$build" -xf - || return 1
    # A bound for what hangs, and no measure of speed: an emulated processor is slow.
    find "$root$build" -name CTestTestfile.cmake -exec sed -i 's/ TIMEOUT "\([0-9]*\)"/ TIMEOUT "\10"/' {} +
    cp "$source/tests/vm/init" "$root/bonxie/init"
    chmod 755 "$root/bonxie/init"
}

# The image of the root, with what this run wants written into it.
make_image() {
    local root=$work/root kib
    {
        printf 'build=%q\n' "$build"
        printf 'tests=%q\n' "${BONXIE_TEST_NAMES:-.}"
    } >"$root/bonxie/settings"
    kib=$(du -sk "$root" | cut -f 1)
    rm -f "$image"
    truncate -s "$((kib * 5 / 4 / 1024 + free_mib))M" "$image" &&
        PATH=$PATH:/sbin:/usr/sbin mkfs.ext4 -q -F -d "$root" "$image"
}

# A file of the image's root.
read_image() {
    PATH=$PATH:/sbin:/usr/sbin debugfs -R "dump /bonxie/$1 $2" "$image" >/dev/null 2>&1 && [[ -s $2 ]]
}

# ---- The machine ----

processor_of() {
    case $1 in
        kvm) echo host ;;
        tcg) echo max ;;
    esac
}

# The counts of stress tests.
scale_of() {
    case $1 in
        kvm) echo 0.1 ;;
        tcg) echo 0.02 ;;
    esac
}

seconds_of() {
    case $1 in
        kvm) echo $run_seconds_kvm ;;
        tcg) echo $run_seconds_tcg ;;
    esac
}

# Boots and waits until the machine is off. Returns 1 where it does not come as far as tests/vm/init.
run_machine() {
    local accel=$1 kernel=$2 pid waited=0
    : >"$console"
    timeout -k 5 "$(seconds_of "$accel")" qemu-system-x86_64 -M q35 -accel "$accel" \
        -cpu "$(processor_of "$accel")" -smp 2 -m $memory_mib -no-reboot -nographic -nic none \
        -kernel "$kernel" -append "root=/dev/nvme0n1 rw init=/bonxie/init console=ttyS0 panic=-1 \
quiet mitigations=off tsc=reliable BONXIE_SCALE=${BONXIE_SCALE:-$(scale_of "$accel")}" \
        -drive "file=$image,format=raw,if=none,id=root,cache=unsafe" \
        -device nvme,drive=root,serial=root </dev/null >"$console" 2>&1 &
    pid=$!
    until grep -aq 'vm: Linux ' "$console"; do # the firmware leaves its codes on the line
        if ! kill -0 $pid 2>/dev/null || [[ $waited -ge $start_seconds ]]; then
            kill $pid 2>/dev/null
            wait $pid
            return 1
        fi
        sleep 1
        waited=$((waited + 1))
    done
    wait $pid
    return 0
}

boot() {
    local kernel=$1 accel
    for accel in ${BONXIE_VM_ACCEL:-kvm tcg}; do
        if [[ $accel == kvm && ! -w /dev/kvm ]]; then
            echo "no /dev/kvm here"
            continue
        fi
        if run_machine "$accel" "$kernel"; then
            echo "booted by $accel"
            return 0
        fi
        echo "$accel does not boot it; the last of $console:"
        tail -n 3 "$console" | tr -d '\r'
    done
    return 1
}

need qemu-system-x86_64
need dpkg
need apt-get
PATH=$PATH:/sbin:/usr/sbin need mkfs.ext4
PATH=$PATH:/sbin:/usr/sbin need debugfs
[[ $(uname -m) == x86_64 ]] || skip "the machine is an x86_64"
mkdir -p "$work"
rm -f "$results" "$work/code"
kernel=$(get_kernel) || skip "$kernel"
make_root || fail "no root can be made of this machine's packages: $(tail -n 3 "$work/root.log")"
make_image || fail "no image can be made"
rm -rf "$work/root"
boot "$kernel" || fail "the kernel does not boot"
read_image results.xml "$results"
read_image code "$work/code" || fail "the machine ended before its tests did: see $console"
tr -d '\r' <"$console" | grep -aE 'vm: Linux |\*\*\*|tests passed|^[[:space:]]*[0-9]+ - '
code=$(<"$work/code")
[[ $code == 0 ]] || fail "ctest exits $code there: see $console"
rm -f "$image"
