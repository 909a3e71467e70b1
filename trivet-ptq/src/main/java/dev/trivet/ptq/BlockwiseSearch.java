package dev.trivet.ptq;

import dev.trivet.kernel.Kernels;
import dev.trivet.model.VitModel;
import java.util.List;

/**
 * Quantizes a model unit by unit, in execution order. When a unit's turn comes, everything before it is quantized, so a method
 * can see the inputs that the layer will really get (sequential calibration) as well as the float model's (parallel). The
 * tokens that enter the unit are kept for all images; a unit is run again as often as a method likes, and the units before it
 * are not.
 *
 * <p>The state after a unit is a partly quantized model and nothing else, so a search can be taken up again from there: the
 * tokens follow from the model by one more run over the images, bit for bit.
 */
final class BlockwiseSearch {
    private BlockwiseSearch() {}

    /**
     * @param model the float model
     * @param begun a model whose first {@code finished} units are quantized, from {@link SearchCheckpoint}; the float model to start
     */
    static VitModel quantize(
            VitModel model,
            VitModel begun,
            int finished,
            Kernels kernels,
            CalibrationImages images,
            int threads,
            UnitSearch method,
            SearchListener listener,
            SearchCheckpoint checkpoint) {
        if (images.size() == 0) {
            throw new IllegalArgumentException("no calibration images");
        }
        if (model.isQuantized()) {
            throw new IllegalArgumentException("the model is quantized already");
        }
        List<SearchUnit> units = SearchUnit.of(model.geometry());
        SearchProgress progress = new SearchProgress(listener, units, finished, images.size(), method);
        try (SearchState state = new SearchState(model, begun, kernels, images, threads, progress)) {
            for (int u = 0; u < units.size(); u++) {
                SearchUnit unit = units.get(u);
                progress.unit(u);
                if (u >= finished) {
                    method.quantize(unit, state);
                    checkpoint.reached(u + 1, state.current());
                }
                if (u + 1 < units.size()) {
                    progress.stage("tokens");
                    state.advance(unit);
                }
            }
            progress.end();
            return state.current();
        }
    }
}
