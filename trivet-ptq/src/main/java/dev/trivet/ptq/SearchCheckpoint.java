package dev.trivet.ptq;

import dev.trivet.model.VitModel;

/**
 * Hears of every unit (the embedding, a block, the head) that a search has finished. The model so far is all that is needed to
 * take the search up again from there.
 */
public interface SearchCheckpoint {
    /** Forgets. */
    SearchCheckpoint NONE = (units, model) -> {};

    /**
     * @param units how many units are finished
     * @param model the model so far: their operators are quantized, the others are not
     */
    void reached(int units, VitModel model);
}
