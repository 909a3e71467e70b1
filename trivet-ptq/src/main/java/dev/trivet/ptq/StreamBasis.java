package dev.trivet.ptq;

import dev.trivet.model.LinearLayer;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitNames;
import dev.trivet.runtime.Evaluation;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.ejml.data.DMatrixRMaj;
import org.ejml.dense.row.CommonOps_DDRM;
import org.ejml.dense.row.factory.DecompositionFactory_DDRM;
import org.ejml.interfaces.decomposition.SingularValueDecomposition_F64;

/**
 * The orthogonal matrix R that takes the tokens of a float model to those of a quantized one, {@code quantized = float R}.
 * Quantization may rotate the residual stream ({@link ResidualRotation}), and the file does not say by what.
 *
 * <p>R is the answer to the orthogonal Procrustes problem (Schoenemann 1966), {@code min sum_i w_i |a_i R - b_i|^2}: with
 * {@code sum_i w_i a_i^T b_i = U S V^T} it is {@code U V^T}. Three kinds of rows go in: positions and prefix tokens, which are
 * float32 in both files and so pin R down exactly in the directions they span; the columns of the patch embedding's
 * weights, which are rounded but reach all directions; and tokens after the embedding. Each kind is weighted by the inverse of the noise that
 * the fit before found in it (iteratively reweighted least squares).
 *
 * <p>Immutable and thread-safe.
 */
public final class StreamBasis {
    /** Positions that agree to float rounding, relative to the largest. */
    private static final double SAME = 1e-5;
    /** Below this the two models' tokens are not the same ones in another basis. */
    private static final double POOR_FIT_DB = 20;

    private static final int REWEIGHTINGS = 3;

    /** How the two streams are related. */
    public enum Relation {
        /** Channel by channel comparable. */
        SAME,
        /** Comparable after R. */
        ROTATED,
        /** No orthogonal matrix explains the second model's tokens. */
        UNRELATED
    }

    private final Relation relation;
    private final int width;
    /** {@code [width, width]}; empty if the basis is the same. */
    private final float[] r;

    private final double fitDb;

    private StreamBasis(Relation relation, int width, float[] r, double fitDb) {
        this.relation = relation;
        this.width = width;
        this.r = r;
        this.fitDb = fitDb;
    }

    /** Rows {@code [rows, width]} of both models that R relates. */
    @SuppressWarnings("ArrayRecordComponent") // parameters, never compared
    private record Rows(float[] a, float[] b) {}

    /**
     * @param first tokens of the first model after the embedding, {@code [tokens, width]} per image
     * @param second those of the second
     */
    static StreamBasis between(VitModel a, VitModel b, List<float[]> first, List<float[]> second) {
        Rows tokens = new Rows(joined(first), joined(second));
        double asTheyAre = sqnrDb(tokens, tokens.a());
        if (!ResidualRotation.applies(a)) {
            return new StreamBasis(Relation.SAME, 0, new float[0], asTheyAre);
        }
        int width = a.vit().width();
        Rows start = new Rows(startRows(a), startRows(b));
        if (isSame(start)) {
            return new StreamBasis(Relation.SAME, width, new float[0], asTheyAre);
        }
        float[] usual = floats(ResidualRotation.matrix(width, ResidualRotation.SEED));
        if (isSame(new Rows(times(start.a(), usual, width), start.b()))) {
            return new StreamBasis(Relation.ROTATED, width, usual, sqnrDb(tokens, times(tokens.a(), usual, width)));
        }
        List<Rows> kinds = List.of(start, new Rows(embeddingColumns(a), embeddingColumns(b)), tokens);
        float[] r = fit(kinds, width);
        double fitted = sqnrDb(tokens, times(tokens.a(), r, width));
        if (asTheyAre >= POOR_FIT_DB && asTheyAre > fitted - 3) {
            return new StreamBasis(Relation.SAME, width, new float[0], asTheyAre);
        }
        return fitted >= POOR_FIT_DB
                ? new StreamBasis(Relation.ROTATED, width, r, fitted)
                : new StreamBasis(Relation.UNRELATED, width, new float[0], fitted);
    }

    /** How the two bases lie to each other. */
    public Relation relation() {
        return relation;
    }

    /** One line for people. */
    public String description() {
        return switch (relation) {
            case SAME -> "both models' tokens are in the same basis";
            case ROTATED ->
                String.format(
                        Locale.ROOT,
                        "the second model's tokens are rotated; the rotation found explains them to %.1f dB",
                        fitDb);
            case UNRELATED ->
                String.format(
                        Locale.ROOT,
                        "the second model's tokens are not the first's in any basis (best fit %.1f dB), so its modules cannot be given the same input",
                        fitDb);
        };
    }

    /** Rows {@code [rows, width]} of the first model's stream as the second model has them: a new array, or the same if nothing changes. */
    public float[] map(float[] rows) {
        return r.length == 0 ? rows : times(rows, r, width);
    }

    /** The inverse of {@link #map}. */
    float[] unmap(float[] rows) {
        if (r.length == 0) {
            return rows;
        }
        float[] inverse = new float[r.length];
        for (int i = 0; i < width; i++) {
            for (int j = 0; j < width; j++) {
                inverse[j * width + i] = r[i * width + j];
            }
        }
        return times(rows, inverse, width);
    }

    private static float[] fit(List<Rows> kinds, int width) {
        double[] weights = new double[kinds.size()];
        for (int k = 0; k < weights.length; k++) {
            weights[k] = 1 / Math.max(meanSquare(kinds.get(k).a()), Double.MIN_NORMAL);
        }
        List<DMatrixRMaj> moments =
                kinds.stream().map(rows -> crossMoments(rows, width)).toList();
        float[] r = procrustes(moments, weights, width);
        for (int i = 0; i < REWEIGHTINGS; i++) {
            for (int k = 0; k < weights.length; k++) {
                Rows rows = kinds.get(k);
                double floor = 1e-13 * meanSquare(rows.a()) + Double.MIN_NORMAL;
                weights[k] = 1 / Math.max(meanSquareDifference(times(rows.a(), r, width), rows.b()), floor);
            }
            r = procrustes(moments, weights, width);
        }
        return r;
    }

    private static float[] procrustes(List<DMatrixRMaj> moments, double[] weights, int width) {
        DMatrixRMaj sum = new DMatrixRMaj(width, width);
        for (int k = 0; k < weights.length; k++) {
            CommonOps_DDRM.addEquals(sum, weights[k], moments.get(k));
        }
        SingularValueDecomposition_F64<DMatrixRMaj> svd =
                DecompositionFactory_DDRM.svd(width, width, true, true, false);
        if (!svd.decompose(sum)) {
            return new float[width * width]; // tokens that are not numbers; the fit will be poor
        }
        DMatrixRMaj r = new DMatrixRMaj(width, width);
        CommonOps_DDRM.mult(svd.getU(null, false), svd.getV(null, true), r);
        return floats(r.data);
    }

    private static float[] floats(double[] matrix) {
        float[] values = new float[matrix.length];
        for (int i = 0; i < values.length; i++) {
            values[i] = (float) matrix[i];
        }
        return values;
    }

    /** {@code a^T b}. */
    private static DMatrixRMaj crossMoments(Rows rows, int width) {
        int count = rows.a().length / width;
        DMatrixRMaj product = new DMatrixRMaj(width, width);
        CommonOps_DDRM.multTransA(matrix(rows.a(), count, width), matrix(rows.b(), count, width), product);
        return product;
    }

    private static DMatrixRMaj matrix(float[] values, int rows, int columns) {
        DMatrixRMaj matrix = new DMatrixRMaj(rows, columns);
        for (int i = 0; i < values.length; i++) {
            matrix.data[i] = values[i];
        }
        return matrix;
    }

    private static float[] times(float[] rows, float[] r, int width) {
        float[] result = new float[rows.length];
        for (int at = 0; at < rows.length; at += width) {
            for (int c = 0; c < width; c++) {
                float x = rows[at + c];
                for (int j = 0; j < width; j++) {
                    result[at + j] += x * r[c * width + j];
                }
            }
        }
        return result;
    }

    private static boolean isSame(Rows start) {
        double largest = 0;
        double difference = 0;
        for (int i = 0; i < start.a().length; i++) {
            largest = Math.max(largest, Math.abs(start.a()[i]));
            difference = Math.max(difference, Math.abs(start.a()[i] - start.b()[i]));
        }
        return difference <= SAME * largest;
    }

    private static float[] startRows(VitModel model) {
        VitConfig c = model.vit();
        List<float[]> parts = new ArrayList<>(List.of(model.floats(VitNames.POSITIONS)));
        if (c.classToken()) {
            parts.add(model.floats(VitNames.CLASS_TOKEN));
        }
        if (c.distilled()) {
            parts.add(model.floats(VitNames.DISTILLATION_TOKEN));
        }
        return joined(parts);
    }

    /** {@code [patchLength, width]}. */
    private static float[] embeddingColumns(VitModel model) {
        LinearLayer layer = model.linear(VitNames.PATCH_EMBEDDING);
        int outputs = layer.outputs();
        int inputs = layer.inputs();
        float[] columns = new float[outputs * inputs];
        for (int n = 0; n < outputs; n++) {
            for (int k = 0; k < inputs; k++) {
                int at = n * inputs + k;
                columns[k * outputs + n] = switch (layer) {
                    case LinearLayer.Float32 l -> l.weight()[at];
                    case LinearLayer.Quantized l -> l.code(at) * l.scale(n);
                };
            }
        }
        return columns;
    }

    private static float[] joined(List<float[]> parts) {
        float[] all = new float[parts.stream().mapToInt(p -> p.length).sum()];
        int at = 0;
        for (float[] part : parts) {
            System.arraycopy(part, 0, all, at, part.length);
            at += part.length;
        }
        return all;
    }

    private static double sqnrDb(Rows rows, float[] mapped) {
        return Evaluation.sqnrDb(meanSquare(mapped), meanSquareDifference(mapped, rows.b()));
    }

    private static double meanSquare(float[] values) {
        return meanSquareDifference(values, new float[values.length]);
    }

    private static double meanSquareDifference(float[] a, float[] b) {
        double sum = 0;
        for (int i = 0; i < a.length; i++) {
            double d = (double) a[i] - b[i];
            sum += d * d;
        }
        return sum / a.length;
    }
}
