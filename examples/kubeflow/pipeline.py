"""Terrain parameters as a Kubeflow pipeline: pipeline.py FILE writes its YAML. Needs kfp and kfp-kubernetes.

Four workers, each with a volume of its own, on any nodes; one reducing step, which has all four.
"""

import sys

from kfp import compiler, dsl, kubernetes

IMAGE = "ghcr.io/osgeo/gdal:ubuntu-small-3.10.0"
WORKERS = 4


@dsl.container_component
def compute(worker: int, grid: int):
    """Cuts the elevation model into tiles, which nobody else needs, and computes the parameters of this worker's."""
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-euc"], args=[
        "mkdir /tmp/tiles\n"
        'sh /steps/cut.sh /elevation/elevation.tif /tmp/tiles "$1"\n'
        f'sh /steps/parameters.sh /tmp/tiles /parameters "$1" "$0" {WORKERS}\n', worker, grid])


@dsl.container_component
def put_together(grid: int):
    """Reads all workers' volumes, and writes the three mosaics."""
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-euc"], args=[
        "for parameter in slope aspect hillshade; do\n"
        '    sh /steps/mosaic.sh "$parameter" /mosaics "$0" '
        + " ".join(f"/parameters-{worker}" for worker in range(WORKERS)) + "\ndone\n", grid])


def claim(suffix, storage_class, size):
    # Bound when the first pod that uses it is scheduled. Cached, it would be a claim of an earlier run, which is gone.
    return kubernetes.CreatePVC(
        pvc_name_suffix=suffix, access_modes=["ReadWriteOnce"], size=size, storage_class_name=storage_class
    ).set_caching_options(False).set_display_name(f"volume {suffix}")


def prepared(task):
    kubernetes.use_config_map_as_volume(task, config_map_name="terrain-steps", mount_path="/steps")
    return task.set_cpu_request("1").set_memory_request("1G").set_caching_options(False)


@dsl.pipeline(name="terrain", description="Slope, aspect and hillshade of elevation tiles")
def terrain(elevation_claim: str = "terrain-elevation", grid: int = 8):
    volumes, workers = [], []
    for number in range(WORKERS):
        volume = claim(f"-parameters-{number}", "perssd-background", "1Gi")
        worker = prepared(compute(worker=number, grid=grid)).set_display_name(f"worker {number}")
        # ReadOnlyMany: each node has a copy of its own.
        kubernetes.mount_pvc(worker, pvc_name=elevation_claim, mount_path="/elevation")
        kubernetes.mount_pvc(worker, pvc_name=volume.outputs["name"], mount_path="/parameters")
        volumes.append(volume)
        workers.append(worker)
    mosaics = claim("-mosaics", "perssd", "2Gi")
    reducer = prepared(put_together(grid=grid)).after(*workers).set_display_name("mosaics")
    for number, volume in enumerate(volumes):
        kubernetes.mount_pvc(reducer, pvc_name=volume.outputs["name"], mount_path=f"/parameters-{number}")
    kubernetes.mount_pvc(reducer, pvc_name=mosaics.outputs["name"], mount_path="/mosaics")
    for volume in volumes:
        kubernetes.DeletePVC(pvc_name=volume.outputs["name"]).after(reducer).set_caching_options(False)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    compiler.Compiler().compile(terrain, sys.argv[1])
