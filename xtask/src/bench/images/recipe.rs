//! What the layers of images are made of: scripts of the host's shell, which
//! find the tree in `$root` and a directory for what is not to stay in
//! `$scratch`. A script's first line says what it does.
//!
//! Invariants: hosts are reached through the clients of package managers as
//! the host has set them up, never named here; programs of packages run only
//! inside the tree, and those of npm not at all.

/// What every script may use.
pub(super) const PRELUDE: &str = r#"
export DEBIAN_FRONTEND=noninteractive HOME="$scratch" LC_ALL=C
# the host's apt installs into the tree, whose own state it uses
apt_install() {
    apt-get install --yes --quiet=2 --no-install-recommends \
        -o APT::Sandbox::User=root -o Debug::NoLocking=true -o Dpkg::Use-Pty=0 \
        -o Dir::State::status="$root/var/lib/dpkg/status" \
        -o Dir::State::extended_states="$root/var/lib/apt/extended_states" \
        -o Dir::Cache::archives="$root/var/cache/apt/archives" \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
        -o DPkg::Chroot-Directory="$root" -o Dpkg::Options::=--force-unsafe-io "$@"
}
install_packages() {
    mkdir -p "$root/var/cache/apt/archives/partial" "$root/var/lib/apt"
    mount -t proc proc "$root/proc"
    apt_install "$@" || { apt-get --quiet=2 update; apt_install "$@"; }
    umount "$root/proc"
    rm -rf "$root/var/cache/apt" "$root"/var/log/*
}
install_wheels() {
    version=$(readlink "$root/usr/bin/python3")
    pip3 --quiet --no-cache-dir install --only-binary=:all: --no-compile --no-warn-conflicts \
        --python-version "${version#python}" \
        --target "$root/usr/local/lib/$version/dist-packages" "$@"
}
install_modules() {
    cd "$1"
    shift
    npm install --silent --no-audit --no-fund --ignore-scripts --no-package-lock \
        --cache "$scratch/npm" "$@"
    cd "$scratch"
    rm -rf npm
}
"#;

/// The layers of the medium image, above one with the essential packages.
pub(super) const MEDIUM: [&str; 6] = [
    "# compilers and git
    install_packages gcc g++ gfortran gdb libc6-dbg make cmake git ca-certificates pkg-config",
    "# python and numpy
    install_packages python3 python3-numpy python3-scipy perl libcap2-bin",
    "# node and npm
    install_packages nodejs npm",
    "# headers of a kernel
    install_packages linux-headers-amd64",
    PRUNED,
    SPECIAL,
];

/// Deletions of files and trees, trees made anew, files where directories
/// were and the other way round.
const PRUNED: &str = r#"# what is deleted and replaced
    cd "$root/usr/src"
    find linux-headers-*/arch -mindepth 1 -maxdepth 1 -type d ! -name x86 | xargs rm -r
    rm -r "$root"/usr/include/boost/[a-l]*/
    cd "$root/usr/share"
    rm -rf man locale cmake-*/Help
    find doc -type f ! -name copyright -delete
    # opaque directories: gone and made anew
    for name in info bash-completion perl5 lintian; do
        rm -rf "$name"
        mkdir "$name"
        echo "made anew" >"$name/README"
    done
    # directories where files were, and files where directories were
    cd "$root/usr/share/nodejs"
    find . -name LICENSE -type f | head -n 100 | while read -r file; do
        rm "$file"
        mkdir "$file"
        echo text >"$file/text"
    done
    find . -mindepth 2 -maxdepth 2 -type d -name lib | sort | head -n 40 | while read -r directory; do
        rm -r "$directory"
        echo "a file now" >"$directory"
    done
    find "$root/usr/lib/python3" -type d -name tests | head -n 100 | xargs rm -rf
    find "$root/usr/lib/x86_64-linux-gnu" -name '*.a' -size -20k -delete"#;

/// What a layer can hold besides files: links, devices, capabilities, access
/// lists, attributes, owners, odd names, a sparse file.
const SPECIAL: &str = r#"# what else a layer can hold
    mkdir "$root/opt/special"
    cd "$root/opt/special"
    mkdir links devices attributes names owners
    # hard links: within the layer, and to files of layers below
    for number in $(seq 500); do
        echo "$number" >"links/$number"
        ln "links/$number" "links/$number.again"
    done
    ln "$root/usr/bin/perl" "$root/usr/bin/python3.11" "$root/usr/bin/git" links/
    for number in $(seq 16); do
        mknod "devices/block$number" b 7 "$number"
        mknod "devices/character$number" c 1 "$number"
        mkfifo "devices/fifo$number"
    done
    for number in $(seq 64); do
        echo "$number" >"attributes/$number"
        setfattr -n user.number -v "$number" "attributes/$number"
        setfacl -m "u:$number:rw,g:1000:r" "attributes/$number"
    done
    setfacl -d -m u:1000:rwx attributes
    cp "$root/usr/bin/env" "$root/usr/bin/id" attributes/
    setcap cap_net_raw+ep attributes/env
    setcap cap_net_bind_service,cap_sys_nice+eip attributes/id
    chmod 4755 "$root/usr/bin/perl"
    # long names, names that are no text, dates before 1970 and after 2038
    printf x >"names/$(printf '%0255d' 0)"
    printf x >"names/$(printf 'latin-\344\366\374')"
    touch -d 1960-01-02T03:04:05.678901234 names/old
    touch -d 2100-01-02T03:04:05.678901234 names/new
    cp -r "$root/usr/share/perl" owners/
    chown -R 1000:1001 owners
    chmod -R o-rwx owners
    truncate --size=64M sparse
    printf middle | dd of=sparse bs=1M seek=31 conv=notrunc status=none"#;

/// The layers of the large image, above those of the medium one.
pub(super) const LARGE: [&str; 4] = [
    "# big wheels
    install_wheels pandas scikit-learn pyarrow matplotlib opencv-python-headless \
        polars sympy",
    r#"# a tree of node modules
    mkdir -p "$root/srv/app"
    install_modules "$root/srv/app" \
        @mui/icons-material@5 @mui/material@5 react@18 react-dom@18 next@14 antd@5 typescript@5 \
        webpack@5 date-fns@3 lodash@4 rxjs@7 core-js@3 eslint@8 jest@29 \
        @babel/core@7 @babel/preset-env@7 @tabler/icons-react@3"#,
    r#"# pruned trees
    cd "$root/srv/app/node_modules"
    find . -type f \( -name '*.md' -o -name '*.map' -o -iname 'license*' \) -delete
    find . -depth -type d \( -name test -o -name __tests__ -o -name docs \) -exec rm -rf {} +
    find "$root/usr/local/lib" -depth -type d -name tests -exec rm -rf {} +"#,
    r#"# chowned trees
    chown -R 1000:1000 "$root/srv/app""#,
];
