"""What an export is and how it is written, over `model_core.export`, which is imported when first used."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ctmasknet_gui.controller.ports import Engine, Pipeline
from ctmasknet_gui.state import SliceEdits
from ctmasknet_gui.state.display import PRESETS
from ctmasknet_gui.state.requests import ExportRequest
from model_core.base.arrays import ByteArray
from model_core.base.jobs import Progress, finish
from model_core.base.reasons import DEFAULT_WAY, SliceReason, Way
from model_core.base.results import ScanVerdict, ShownSlice, SliceResult, SliceSummary
from model_core.base.settings import DetectionSettings, EvidenceSettings
from model_core.base.stability import ScanStability, Stability
from model_core.base.volume import Problem, Volume, Window
from model_core.scene import Overlays, ScanWords, SceneSettings

if TYPE_CHECKING:
    from model_core.export.pages import PageSettings
    from model_core.export.predictions import Networks
    from model_core.report import Document

_PAGES = ("slice_page", "scan_page")
FIGURES = ("figure", "nms_figure")
IN_TWO_FORMATS = (*_PAGES, *FIGURES)
_OWN_NAMES = {"auto", *(preset.name.casefold() for preset in PRESETS)}


@dataclass(frozen=True)
class Appearance:
    """How the viewport shows a slice."""

    window: Window
    inverted: bool
    flip_horizontal: bool
    flip_vertical: bool
    overlays: Overlays


@dataclass(frozen=True, eq=False)
class ExportJob:
    """One export, with state as it was when that was asked for: later changes do not reach it.

    ``slices`` are what it covers; ``results`` those of them that were analysed. ``summaries`` and ``verdict``
    are of the whole scan. ``steady`` is of the one slice that it covers, ``steady_scan`` of the scan; None
    where nobody asked, or thresholds moved since.
    """

    request: ExportRequest
    volume: Volume
    slices: tuple[int, ...]
    results: Mapping[int, SliceResult]
    summaries: Mapping[int, SliceSummary]
    verdict: ScanVerdict | None
    pipeline: Pipeline | None
    detections: DetectionSettings
    evidence: EvidenceSettings
    edits: SliceEdits
    edited: bool
    region_classes: tuple[str, ...]
    image_classes: tuple[str, ...]
    weights: str
    scan: ScanWords | None
    reference: ByteArray | None
    appearance: Appearance
    top: int | None
    selected: int | None
    overwrite: bool
    way: Way = DEFAULT_WAY
    output: int | None = None
    key_images: Mapping[int, str] = field(default_factory=dict)
    steady: Stability | None = None
    steady_scan: ScanStability | None = None


@dataclass(frozen=True)
class Existing:
    """Files that an export would replace."""

    paths: tuple[Path, ...]


def without_arrays(shown: ShownSlice) -> ShownSlice:
    """Return a shown slice without its masks and maps.

    New empty arrays: a view of no masks would keep all of them in memory.
    """
    return dataclasses.replace(
        shown,
        detections=dataclasses.replace(shown.detections, mask_logits=np.zeros((0, 28, 28), np.float32)),
        masks=np.zeros((0, 1, 1), bool),
        logit_map=np.zeros((0, 0), np.float32),
        asked=(),
    )


def without_free_text(window: Window) -> Window:
    """Return a window without the name that a file gives it, unless that is one of ours."""
    return window if window.name.casefold() in _OWN_NAMES else dataclasses.replace(window, name="")


class Exporter:
    """Writes exports, in the worker thread; the engine computes what is drawn over slices not on screen."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def targets(self, job: ExportJob) -> tuple[Path, ...]:
        """Return the files that the job will write."""
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
        if request.kind in _PAGES:
            return tuple(request.target.with_suffix(suffix) for suffix in (".html", ".pdf"))
        if request.kind in FIGURES:
            from model_core.export.paper import paper_targets

            return paper_targets(request.target)
        return (request.target,)

    def export(self, job: ExportJob) -> Generator[Progress | Path | Problem, None, None]:
        """Write them, each whole or not at all, and tell what had to be assumed. Raises `ExportError`."""
        if job.request.kind == "png":
            yield from self._pictures(job)
        elif job.request.kind == "plots":
            yield from self._plots(job)
        elif job.request.kind == "csv":
            yield from self._table(job)
        elif job.request.kind in _PAGES:
            yield from self._page(job)
        elif job.request.kind in FIGURES:
            yield from self._figure(job)
        elif job.request.kind == "lesions":
            yield from self._lesions(job)
        else:
            raise ValueError(f"nothing writes {job.request.kind}")

    def _pictures(self, job: ExportJob) -> Generator[Progress | Path, None, None]:
        from model_core.export import export_slices, render_slice, write_png
        from model_core.export.look import LookArguments

        request, appearance = job.request, job.appearance
        arguments: LookArguments = {
            "window": appearance.window if request.identity else without_free_text(appearance.window),
            "overlays": appearance.overlays,
            "region_classes": job.region_classes,
            "image_classes": job.image_classes,
            "weights": job.weights,
            "scan": job.scan,
            "scale": request.scale,
            "identity": request.identity,
            "plots": request.plots,
            "edited": job.edited,
            "inverted": appearance.inverted,
            "flip_horizontal": appearance.flip_horizontal,
            "flip_vertical": appearance.flip_vertical,
            "output": job.output,
        }
        if request.slices != "current":
            yield from export_slices(
                request.target,
                job.volume,
                job.slices,
                shown=lambda index: next(self._shown(job, index), None),
                why=lambda shown: self._reason(job, shown),
                key_images=job.key_images,
                reference=job.reference,
                overwrite=job.overwrite,
                **arguments,
            )
            return
        index = job.slices[0]
        # The selection is one of the visible slice.
        arguments["selected"] = job.selected
        arguments["key_image"] = job.key_images.get(index)
        yield Progress(0, 1, f"Slice {index + 1}")
        shown = next(self._shown(job, index), None)
        arguments["reason"] = None if shown is None else self._reason(job, shown)
        picture = render_slice(
            job.volume,
            index,
            shown=shown,
            reference=job.reference,
            **arguments,
        )
        write_png(request.target, picture, overwrite=job.overwrite)
        yield request.target

    def _figure(self, job: ExportJob) -> Generator[Progress | Path, None, None]:
        from model_core.export.paper import nms_figure, paper_figure, with_nms, write_paper_figure
        from model_core.export.paper_captions import PaperLook

        request, first = job.request, job.slices[0]
        scene = dataclasses.replace(
            self._scene(job),
            region_classes=job.region_classes,
            image_classes=job.image_classes,
            weights=job.weights,
        )
        look = PaperLook(scene=scene, maps=request.paper_maps, plot=request.paper_plot)
        if request.kind == "figure":
            rows: list[ShownSlice] = []
            for done, index in enumerate(job.slices):
                yield Progress(done, len(job.slices), f"Slice {index + 1}")
                rows += self._shown(job, index)
            figure = paper_figure(job.volume, rows, look, reference=job.reference)
            title = f"CTMaskNet, slices {', '.join(str(index + 1) for index in job.slices)}"
        else:
            settings = [with_nms(job.detections, job.evidence, iou) for iou in request.nms]
            columns: list[ShownSlice] = []
            whole = yield from self._with_masks(job, first, [detections for detections, _ in settings])
            for done, (detections, evidence) in enumerate(settings):
                yield Progress(done, len(settings), f"NMS {request.nms[done]:g}")
                under = dataclasses.replace(whole, detections=detections, evidence=evidence)
                columns += self._shown(under, first)
            figure = nms_figure(job.volume, columns, look)
            title = f"CTMaskNet, slice {first + 1} under two NMS thresholds"
        yield Progress(0, 0, "Writing the figure")
        yield from write_paper_figure(request.target, figure, title=title, overwrite=job.overwrite)

    def _with_masks(
        self, job: ExportJob, index: int, settings: Sequence[DetectionSettings]
    ) -> Generator[Progress, None, ExportJob]:
        """Return a job with all that masks under these settings take; the slice runs again if need be."""
        result = job.results[index]
        if not all(self._engine.can_show(result, detections) for detections in settings):
            for item in self._engine.run(job.pipeline, job.volume, (index,)):
                if isinstance(item, SliceResult):
                    result = item
                else:
                    yield item
        return dataclasses.replace(job, results={**job.results, index: result})

    def _page(self, job: ExportJob) -> Generator[Progress | Path, None, None]:
        from model_core.export.pages import PageSettings, write_page

        request, pipeline = job.request, job.pipeline
        assert pipeline is not None
        networks = cast("Networks", pipeline)
        settings = PageSettings(
            networks, job.detections, job.evidence, job.weights, identity=request.identity
        )
        make = self._slice_page if request.kind == "slice_page" else self._scan_page
        page = yield from make(job, settings)
        yield Progress(0, 0, "Writing the page")
        target = request.target
        yield from write_page(target.parent, target.stem, page, overwrite=job.overwrite)

    def _slice_page(self, job: ExportJob, settings: PageSettings) -> Generator[Progress, None, Document]:
        from model_core.explain import explain_slice
        from model_core.explain.explanation import Explanation
        from model_core.export.slice_page import slice_page

        (index,) = job.slices
        (shown,) = self._shown(job, index)
        result, found = job.results[index], None
        if shown.verdict is not None:
            own = self._engine.own_numbers(result, shown)
            for item in explain_slice(cast("Any", job.pipeline), result, own):
                if isinstance(item, Explanation):
                    found = item
                else:
                    yield item
        return slice_page(
            job.volume, shown, settings, explanation=found, scene=self._scene(job), steady=job.steady
        )

    def _scan_page(self, job: ExportJob, settings: PageSettings) -> Generator[Progress, None, Document]:
        from model_core.engine.lungs import known_lungs
        from model_core.explain import burden, roi_distribution
        from model_core.export import render_slice
        from model_core.export.scan_page import page_slices, scan_page
        from model_core.weights.card import control_regions

        summaries = [job.summaries[index] for index in sorted(job.summaries)]
        scene, pictures = self._scene(job), {}
        for done, index in enumerate(chosen := page_slices(summaries, job.verdict, job.key_images)):
            yield Progress(done, len(chosen), f"Slice {index + 1}")
            pictures[index] = render_slice(
                job.volume,
                index,
                shown=next(self._shown(job, index), None),
                window=scene.window,
                overlays=scene.overlays,
                inverted=scene.inverted,
                flip_horizontal=scene.flip_horizontal,
                flip_vertical=scene.flip_vertical,
                region_classes=job.region_classes,
                image_classes=job.image_classes,
                identity=job.request.identity,
                edited=job.edited,
                weights=job.weights,
                scale=2.0,
            )
        labels = yield from self._labels(job)
        controls = control_regions(settings.pipeline.cards)
        found = None
        lungs = known_lungs(job.volume)
        for item in burden(job.volume, labels, lungs=lungs, analysed=job.summaries.keys()):
            if isinstance(item, Progress):
                yield item
            else:
                found = item
        return scan_page(
            job.volume,
            summaries,
            job.verdict,
            settings,
            pictures=pictures,
            lesions=found,
            key_images=job.key_images,
            rois=roi_distribution(job.results.values(), controls, summaries),
            outside=() if lungs is None else lungs.outside,
            steady=job.steady_scan,
        )

    def _scene(self, job: ExportJob) -> SceneSettings:
        look = job.appearance
        return SceneSettings(
            window=look.window if job.request.identity else without_free_text(look.window),
            overlays=look.overlays,
            inverted=look.inverted,
            flip_horizontal=look.flip_horizontal,
            flip_vertical=look.flip_vertical,
            selected=job.selected,
        )

    def _reason(self, job: ExportJob, shown: ShownSlice) -> SliceReason | None:
        """Say why a slice has its class, where the contributions of regions are drawn."""
        result = job.results.get(shown.slice_index)
        if not job.appearance.overlays.contributions or shown.verdict is None or result is None:
            return None
        found = finish(self._engine.explain(job.pipeline, job.volume, result, shown, job.way))
        return found[-1]

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
        from model_core.export import write_lesions

        labels = yield from self._labels(job)
        yield from write_lesions(job.request.target, job.volume, labels, overwrite=job.overwrite)
        yield job.request.target

    def _labels(self, job: ExportJob) -> Generator[Progress, None, ByteArray]:
        """Return the (D, H, W) classes of the shown masks of all slices."""
        from model_core.explain.masks import label_map

        labels = np.zeros(job.volume.voxels.shape, np.uint8)
        for done, index in enumerate(job.slices):
            yield Progress(done, len(job.slices), f"Slice {index + 1}")
            for shown in self._shown(job, index):
                labels[index] = label_map(shown.masks, shown.detections.labels)
        return labels

    def _shown(self, job: ExportJob, index: int) -> Iterator[ShownSlice]:
        """Yield what is drawn over a slice, if it was analysed."""
        result = job.results.get(index)
        if result is not None and job.pipeline is not None:
            edit = job.edits.arguments(index)
            yield self._engine.show(job.pipeline, job.volume, result, job.detections, job.evidence, **edit)
