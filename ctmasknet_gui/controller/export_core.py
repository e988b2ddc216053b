"""The real exporter, over `model_core.export` and `model_core.plots`; both are imported when first used."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np

from ctmasknet_gui.controller.export_job import ExportJob
from ctmasknet_gui.controller.ports import Engine
from ctmasknet_gui.state.display import PRESETS
from model_core.base.jobs import Progress
from model_core.base.results import ShownSlice
from model_core.base.volume import Problem, Window

_OWN_NAMES = {"auto", *(preset.name.casefold() for preset in PRESETS)}


def without_arrays(shown: ShownSlice) -> ShownSlice:
    """Return a shown slice without its masks and maps.

    New empty arrays: a view of no masks would keep all of them in memory.
    """
    return dataclasses.replace(
        shown,
        detections=dataclasses.replace(shown.detections, mask_logits=np.zeros((0, 28, 28), np.float32)),
        masks=np.zeros((0, 1, 1), bool),
        logit_map=np.zeros((0, 0), np.float32),
    )


def without_free_text(window: Window) -> Window:
    """Return a window without the name that a file gives it, unless that is one of ours."""
    return window if window.name.casefold() in _OWN_NAMES else dataclasses.replace(window, name="")


class CoreExporter:
    """Implements `Exporter`; the engine computes what is drawn over slices that are not on screen."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def targets(self, job: ExportJob) -> tuple[Path, ...]:
        """See `Exporter.targets`."""
        from model_core.export import slice_file_name
        from model_core.export.plots import KINDS, REGION_KINDS

        request = job.request
        if request.kind == "png" and request.slices != "current":
            return tuple(request.target / slice_file_name(index) for index in job.slices)
        if request.kind == "plots":
            names = [
                slice_file_name(job.slices[0], suffix=f"-{kind}.{request.plot_format}")
                for kind in (KINDS if job.image_classes else REGION_KINDS)
            ]
            return tuple(request.target / name for name in names)
        return (request.target,)

    def export(self, job: ExportJob) -> Generator[Progress | Path | Problem, None, None]:
        """See `Exporter.export`."""
        if job.request.kind == "png":
            yield from self._pictures(job)
        elif job.request.kind == "plots":
            yield from self._plots(job)
        elif job.request.kind == "csv":
            yield from self._table(job)
        else:
            yield from self._lesions(job)

    def _pictures(self, job: ExportJob) -> Generator[Progress | Path, None, None]:
        from model_core.export import export_slices, render_slice, write_png
        from model_core.export.look import LookArguments

        request, look = job.request, job.look
        arguments: LookArguments = {
            "window": look.window if request.identity else without_free_text(look.window),
            "overlays": look.overlays,
            "region_classes": job.region_classes,
            "image_classes": job.image_classes,
            "weights": job.weights,
            "scan": job.scan,
            "scale": request.scale,
            "identity": request.identity,
            "plots": request.plots,
            "edited": job.edited,
            "inverted": look.inverted,
            "flip_horizontal": look.flip_horizontal,
            "flip_vertical": look.flip_vertical,
        }
        if request.slices != "current":
            yield from export_slices(
                request.target,
                job.volume,
                job.slices,
                shown=lambda index: next(self._shown(job, index), None),
                reference=job.reference,
                overwrite=job.overwrite,
                **arguments,
            )
            return
        index = job.slices[0]
        # The selection is one of the visible slice.
        arguments["selected"] = job.selected
        yield Progress(0, 1, f"Slice {index + 1}")
        picture = render_slice(
            job.volume,
            index,
            shown=next(self._shown(job, index), None),
            reference=job.reference,
            **arguments,
        )
        write_png(request.target, picture, overwrite=job.overwrite)
        yield request.target

    def _plots(self, job: ExportJob) -> Generator[Progress | Path, None, None]:
        from model_core.export import export_plots

        for shown in self._shown(job, job.slices[0]):
            yield from export_plots(
                job.request.target,
                shown,
                image_classes=job.image_classes,
                plot_format=job.request.plot_format,
                top=job.top,
                selected=job.selected,
                overwrite=job.overwrite,
            )

    def _table(self, job: ExportJob) -> Generator[Progress | Path, None, None]:
        from model_core.export import write_rois_csv

        # Without masks a slice is small, and the file is written in one go once all are there.
        rows: list[ShownSlice] = []
        for done, index in enumerate(job.slices):
            yield Progress(done, len(job.slices), f"Slice {index + 1}")
            rows.extend(without_arrays(shown) for shown in self._shown(job, index))
        write_rois_csv(job.request.target, job.volume, rows, overwrite=job.overwrite)
        yield job.request.target

    def _lesions(self, job: ExportJob) -> Generator[Progress | Path | Problem, None, None]:
        from model_core.explain.masks import label_map
        from model_core.export import write_lesions

        labels = np.zeros(job.volume.voxels.shape, np.uint8)
        for done, index in enumerate(job.slices):
            yield Progress(done, len(job.slices), f"Slice {index + 1}")
            for shown in self._shown(job, index):
                labels[index] = label_map(shown.masks, shown.detections.labels)
        yield from write_lesions(job.request.target, job.volume, labels, overwrite=job.overwrite)
        yield job.request.target

    def _shown(self, job: ExportJob, index: int) -> Iterator[ShownSlice]:
        """Yield what is drawn over a slice, if it was analysed."""
        result = job.results.get(index)
        if result is not None and job.pipeline is not None:
            yield self._engine.show(job.pipeline, job.volume, result, job.detections, job.evidence)
