#!/usr/bin/env bash
# Installs the Debian packages that the interoperability tests run against, where it may; else names them in one line.
set -euo pipefail

declare -A package_of=([storescu]=dcmtk [Orthanc]=orthanc [gdcmscu]=libgdcm-tools [dciodvfy]=dicom3tools)
missing=()
for program in "${!package_of[@]}"; do
    command -v "$program" > /dev/null || missing+=("${package_of[$program]}")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=()
elif command -v sudo > /dev/null && sudo -n true 2> /dev/null; then
    as_root=(sudo -n)
else
    echo "the tests need: sudo apt-get install ${missing[*]}" >&2
    exit 1
fi
echo "installing ${missing[*]}"
# A system Orthanc would take the DICOM port as soon as it is installed; the tests start their own.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
"${as_root[@]}" apt-get -qq update > /dev/null
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get -qq install -y --no-install-recommends "${missing[@]}" > /dev/null
