# Fetches artifacts into the sandbox. The arguments come in threes: an address, a file name, and what to
# do with the file. Addresses are never part of the text of this script, nor of its output.
set -eu
cd "$MESOS_SANDBOX"
while [ "$#" -gt 0 ]; do
  uri=$1
  file=./$2
  act=$3
  shift 3
  echo "fetch $file"
  # No -T: busybox crashes on it where it was built without that option.
  wget -q -O "$file" "$uri" || { echo "cannot fetch $file" >&2; exit 1; }
  case $act in
    tar) tar -xof "$file" ;;
    tar-gzip) tar -xozf "$file" ;;
    tar-bzip2) tar -xojf "$file" ;;
    tar-xz) tar -xoJf "$file" ;;
    zip) unzip -o -q "$file" ;;
    gzip) gunzip -c "$file" > "${file%.*}" ;;
    executable) chmod a+x "$file" ;;
  esac
done
# Whoever the image of the work runs as: the sandbox is its own.
find . ! -name . ! -type l -exec chmod a+rwX {} +
