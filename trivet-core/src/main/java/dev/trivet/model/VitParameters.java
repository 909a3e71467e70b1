package dev.trivet.model;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Reads the parameters of a ViT or DeiT and brings what checkpoints hold in several ways into the one form that is run:
 *
 * <ul>
 *   <li>Layer scale (Touvron et al. 2021, CaiT; DeiT-III), {@code x += gamma * f(x)}, is folded into the last linear layer of
 *       {@code f}: {@code gamma (W x + b) = (gamma W) x + gamma b}.
 *   <li>Positions become one row for each token: zeros where a checkpoint has none for its prefix tokens, resampled where the image
 *       has another size ({@link PositionResampling}), register tokens added to their rows.
 * </ul>
 *
 * Register tokens and layer scales are constants at inference, so nothing behind this class need know of them.
 */
final class VitParameters {
    private final VitConfig stored;
    private final VitConfig wanted;
    private final CheckpointTensors tensors;
    /** Scale of a layer's outputs, by the layer's name. */
    private final Map<String, String> scales = new LinkedHashMap<>();

    private final boolean positionsOfPrefix;

    /**
     * @param stored at the image size of the checkpoint
     * @param wanted the same at the image size that is wanted
     * @throws dev.trivet.BadInputException if the tensors are not those of {@code stored}
     */
    VitParameters(VitConfig stored, VitConfig wanted, CheckpointTensors tensors) {
        this.stored = stored;
        this.wanted = wanted;
        this.tensors = tensors;
        long width = stored.width();
        Map<String, List<Long>> shapes = new LinkedHashMap<>();
        if (stored.registers() > 0) { // first, because positions follow from their number
            shapes.put(VitNames.REGISTERS, List.of(1L, (long) stored.registers(), width));
        }
        shapes.putAll(VitTensors.of(stored).fileShapes());
        List<Long> ofPatches = List.of(1L, (long) stored.patches(), width);
        positionsOfPrefix =
                !tensors.shape(VitNames.POSITIONS).map(ofPatches::equals).orElse(false);
        if (!positionsOfPrefix) {
            shapes.put(VitNames.POSITIONS, ofPatches);
        }
        for (int b = 0; b < stored.depth(); b++) {
            scales.put(VitNames.projection(b), VitNames.attentionScale(b));
            scales.put(VitNames.output(b), VitNames.mlpScale(b));
        }
        if (scales.values().stream().anyMatch(tensors::has)) {
            scales.values().forEach(name -> shapes.put(name, List.of(width)));
        } else {
            scales.clear();
        }
        tensors.check(shapes);
    }

    /** Values under one of the names that {@link VitTensors} gives for the wanted geometry. */
    float[] floats(String name) {
        if (name.equals(VitNames.POSITIONS)) {
            return positions();
        }
        float[] values = tensors.floats(name);
        int dot = name.lastIndexOf('.');
        String scale = dot < 0 ? null : scales.get(name.substring(0, dot));
        if (scale != null) {
            scaleRows(values, tensors.floats(scale));
        }
        return values;
    }

    private static void scaleRows(float[] values, float[] scale) {
        int row = values.length / scale.length;
        for (int i = 0; i < values.length; i++) {
            values[i] *= scale[i / row];
        }
    }

    private float[] positions() {
        int width = stored.width();
        int prefix = stored.prefixTokens() * width;
        float[] read = tensors.floats(VitNames.POSITIONS);
        float[] patches = java.util.Arrays.copyOfRange(read, positionsOfPrefix ? prefix : 0, read.length);
        float[] rows = new float[wanted.tokens() * width];
        if (positionsOfPrefix) {
            System.arraycopy(read, 0, rows, 0, prefix);
        }
        float[] resampled = PositionResampling.resample(patches, stored.grid(), wanted.grid(), width);
        System.arraycopy(resampled, 0, rows, prefix, resampled.length);
        if (stored.registers() > 0) {
            float[] registers = tensors.floats(VitNames.REGISTERS);
            int first = prefix - registers.length;
            for (int i = 0; i < registers.length; i++) {
                rows[first + i] += registers[i];
            }
        }
        return rows;
    }
}
