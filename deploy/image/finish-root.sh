#!/bin/sh
# The last step inside the image's root file system, when the packages are installed, in the Dockerfile and in make image-root
# alike. It expects left-out.txt beside itself.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

for package in $(sed 's/#.*//' "$here/left-out.txt"); do
    if dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed; then
        # Its dependents stay, so dpkg is told not to mind. Its records stay right: what looks for packages with known holes
        # sees what is there, and no more.
        dpkg --purge --force-depends --force-remove-protected "$package"
    fi
done

# Numbers, not names, are what a pod's runAsNonRoot looks at; the name is for those who look into the container.
groupadd --gid 65532 -K GID_MAX=65532 perssd
useradd -K UID_MAX=65532 --uid 65532 --gid 65532 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin perssd
# Where sockets are made when nothing is mounted there, and where a node keeps its mount points.
install -d -o perssd -g perssd /run/perssd
install -d /var/lib/perssd

# Nobody becomes root in this container who did not start as root.
find / -xdev -type f -perm /6000 -exec chmod ug-s {} +

# Licences stay: Debian keeps them as "copyright" beside the documentation.
find /usr/share/doc -mindepth 1 -type f ! -name copyright -delete
find /usr/share/doc -mindepth 1 -type d -empty -delete
rm -rf /usr/share/man /usr/share/info /usr/share/locale /usr/share/lintian /usr/share/bash-completion \
    /usr/share/zsh /usr/share/bug
# /etc/apt stays, as it says where the packages came from.
rm -rf /var/lib/apt/lists/* /var/cache/* /etc/cron.d /etc/cron.daily /etc/systemd /usr/lib/systemd /usr/lib/udev \
    /usr/share/initramfs-tools /etc/logrotate.d
rm -f /var/lib/dpkg/*-old /var/log/*.log /var/log/apt/* /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow-
