#!/bin/bash
# Renders the chart to the kustomize base, with helm from .build/deploy-tools (scripts/fetch-deploy-tools.sh) or the HELM that
# is given. To run after each change of the chart: the tests compare the two. With --stdout nothing is written.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

helm=${HELM:-../../.build/deploy-tools/helm}

render() {
    echo "# Made by deploy/kustomize/render.sh out of deploy/helm/perssd: change that instead."
    # helm does not manage what kustomize applies. What is on lines of its own can go without being parsed.
    "$helm" template perssd ../helm/perssd --namespace perssd-system --values base/values.yaml |
        sed -E '/^ *(helm\.sh\/chart|app\.kubernetes\.io\/managed-by): /d; /^# Source: /d'
}

if [[ ${1:-} == --stdout ]]; then
    render
else
    render > base/perssd.yaml.new
    mv base/perssd.yaml.new base/perssd.yaml
fi
