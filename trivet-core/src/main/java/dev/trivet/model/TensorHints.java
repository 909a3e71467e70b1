package dev.trivet.model;

import java.util.List;
import java.util.Optional;

/**
 * What a checkpoint's tensors say about its geometry, for what a config leaves open. A config that says otherwise wins here; the check
 * of all tensors against the geometry then names the contradiction.
 *
 * @param classes outputs of the head
 * @param qkvBias whether the first block's q, k, v projection has a bias
 * @param registers register tokens (timm's {@code reg_token})
 * @param preLogits width of a layer before the head, 0 for none
 * @param normBeforePooling whether the last LayerNorm has the name that it bears before pooling
 * @param positions whether a Swin adds positions to its embedding
 */
record TensorHints(
        Optional<Integer> classes,
        Optional<Boolean> qkvBias,
        int registers,
        int preLogits,
        boolean normBeforePooling,
        boolean positions) {
    /** Where there are no tensors to look at. */
    static final TensorHints NONE = new TensorHints(Optional.empty(), Optional.empty(), 0, 0, false, false);

    static TensorHints of(CheckpointTensors tensors) {
        return new TensorHints(
                rows(tensors, VitNames.HEAD + ".weight").or(() -> rows(tensors, SwinNames.HEAD + ".weight")),
                qkvBias(tensors),
                registers(tensors),
                rows(tensors, VitNames.PRE_LOGITS + ".weight").orElse(0),
                tensors.has("norm.weight") && !tensors.has("fc_norm.weight"),
                tensors.has(SwinNames.POSITIONS));
    }

    private static Optional<Boolean> qkvBias(CheckpointTensors tensors) {
        for (String block : List.of(VitNames.block(0), SwinNames.block(0, 0))) {
            if (tensors.has(block + ".attn.qkv.weight")) {
                return Optional.of(tensors.has(block + ".attn.qkv.bias"));
            }
        }
        return Optional.empty();
    }

    private static Optional<Integer> rows(CheckpointTensors tensors, String name) {
        return tensors.shape(name)
                .map(List::getFirst)
                .filter(rows -> rows <= 1 << 16)
                .map(Long::intValue);
    }

    private static int registers(CheckpointTensors tensors) {
        return tensors.shape(VitNames.REGISTERS)
                .filter(shape -> shape.size() == 3 && shape.get(1) <= 1 << 10)
                .map(shape -> shape.get(1).intValue())
                .orElse(0);
    }
}
