package dev.trivet.ptq;

import dev.trivet.model.VitConfig;
import dev.trivet.runtime.VitExecutor;
import java.util.ArrayList;
import java.util.List;

/**
 * A piece of a model that calibration takes at once: the embedding, one block, or the head.
 *
 * @param name for progress
 * @param part what is run
 * @param block the block's index, or -1
 */
record ModelUnit(String name, VitExecutor.Part part, int block) {
    /** All of a model's units in order. */
    static List<ModelUnit> of(VitConfig config) {
        List<ModelUnit> units = new ArrayList<>();
        units.add(new ModelUnit("embedding", VitExecutor.Part.ofEmbedding(), -1));
        for (int b = 0; b < config.depth(); b++) {
            units.add(new ModelUnit("block " + (b + 1) + " of " + config.depth(), VitExecutor.Part.ofBlock(b), b));
        }
        units.add(new ModelUnit("head", VitExecutor.Part.ofHead(config), -1));
        return units;
    }
}
