package dev.trivet.ptq;

import dev.trivet.model.LinearLayer;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;
import dev.trivet.model.VitNames;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.SplittableRandom;
import org.ejml.data.DMatrixRMaj;
import org.ejml.dense.row.factory.DecompositionFactory_DDRM;
import org.ejml.interfaces.decomposition.QRDecomposition;

/**
 * Rewrites a float model so that its residual stream stands in a rotated basis, in which no channel is larger than the others;
 * what the model computes stays the same. ViTs have a few channels with values many times the rest, and those set the step of
 * a low-bit quantizer for all.
 *
 * <p>The stream {@code x [tokens, width]} becomes {@code x R}. Everything that writes to the stream is multiplied by R,
 * everything that reads it by R^T. Between them stand LayerNorms: their gamma and beta move into the layers that read them, and
 * what is left, {@code (x - mean(x)) / deviation(x)}, commutes with every orthogonal R that keeps the vector of ones, because
 * such an R changes neither mean nor length. (QuaRot and GLF-Q turn LayerNorm into RMSNorm for this; fixing the ones does
 * without another operator.) R is {@code U diag(1, S) U^T}, with U the reflection that takes the first axis to the ones, and
 * S the Q factor of a seeded normal matrix.
 */
final class ResidualRotation {
    /** All files share one R: any is as good as another, and what compares two models need not search for it. */
    static final long SEED = 0;

    private final VitModel model;
    private final int width;
    /** {@code [width, width]}. */
    private final double[] r;

    private final Map<String, LinearLayer> linears;
    private final Map<String, float[]> floats;

    private ResidualRotation(VitModel model, long seed) {
        this.model = model;
        width = model.vit().width();
        r = matrix(width, seed);
        linears = new LinkedHashMap<>(model.linears());
        floats = new LinkedHashMap<>(model.floats());
    }

    /**
     * Whether a model can be rotated. A Swin is not: its first stage starts behind a LayerNorm with a scale per channel, which no
     * rotation passes.
     */
    static boolean applies(VitModel model) {
        return model.geometry() instanceof VitConfig;
    }

    /** The same model in another basis. */
    static VitModel apply(VitModel model, long seed) {
        return new ResidualRotation(model, seed).rotated();
    }

    /** An orthogonal matrix that keeps the vector of ones. */
    static double[] matrix(int width, long seed) {
        SplittableRandom random = new SplittableRandom(seed);
        int inner = width - 1;
        double[] rotation = new double[width * width];
        rotation[0] = 1;
        if (inner > 0) {
            DMatrixRMaj normal = new DMatrixRMaj(inner, inner);
            for (int i = 0; i < inner * inner; i++) {
                normal.data[i] = random.nextGaussian();
            }
            QRDecomposition<DMatrixRMaj> qr = DecompositionFactory_DDRM.qr(inner, inner);
            qr.decompose(normal);
            DMatrixRMaj q = qr.getQ(null, false);
            for (int i = 0; i < inner; i++) {
                for (int j = 0; j < inner; j++) {
                    rotation[(i + 1) * width + j + 1] = q.get(i, j);
                }
            }
        }
        // U = I - 2 v v^T / v^T v with v = e1 - ones / sqrt(width) swaps the first axis and the ones.
        double[] v = new double[width];
        Arrays.fill(v, -1 / Math.sqrt(width));
        v[0] += 1;
        reflect(rotation, v, width);
        transpose(rotation, width);
        reflect(rotation, v, width);
        transpose(rotation, width);
        return rotation;
    }

    /** {@code rows <- U rows}. */
    private static void reflect(double[] matrix, double[] v, int width) {
        double length = 0;
        for (double x : v) {
            length += x * x;
        }
        if (length == 0) {
            return;
        }
        for (int j = 0; j < width; j++) {
            double dot = 0;
            for (int i = 0; i < width; i++) {
                dot += v[i] * matrix[i * width + j];
            }
            for (int i = 0; i < width; i++) {
                matrix[i * width + j] -= 2 * v[i] * dot / length;
            }
        }
    }

    private static void transpose(double[] matrix, int width) {
        for (int i = 0; i < width; i++) {
            for (int j = 0; j < i; j++) {
                double t = matrix[i * width + j];
                matrix[i * width + j] = matrix[j * width + i];
                matrix[j * width + i] = t;
            }
        }
    }

    private VitModel rotated() {
        VitConfig c = model.vit();
        writer(VitNames.PATCH_EMBEDDING);
        rows(VitNames.POSITIONS);
        if (c.classToken()) {
            rows(VitNames.CLASS_TOKEN);
        }
        if (c.distilled()) {
            rows(VitNames.DISTILLATION_TOKEN);
        }
        for (int b = 0; b < c.depth(); b++) {
            reader(VitNames.qkv(b), VitNames.attentionNorm(b));
            writer(VitNames.projection(b));
            reader(VitNames.hidden(b), VitNames.mlpNorm(b));
            writer(VitNames.output(b));
            clear(VitNames.attentionNorm(b));
            clear(VitNames.mlpNorm(b));
        }
        reader(VitNames.firstOfHead(c), VitNames.finalNorm(c));
        if (c.distilled()) {
            reader(VitNames.DISTILLATION_HEAD, VitNames.finalNorm(c));
        }
        clear(VitNames.finalNorm(c));
        return new VitModel(model.config(), linears, model.matmuls(), floats);
    }

    /** {@code row R} for each row of {@code [rows, width]}. */
    private float[] times(float[] rows) {
        float[] result = new float[rows.length];
        double[] sum = new double[width];
        for (int at = 0; at < rows.length; at += width) {
            Arrays.fill(sum, 0);
            for (int c = 0; c < width; c++) {
                for (int j = 0; j < width; j++) {
                    sum[j] += rows[at + c] * r[c * width + j];
                }
            }
            for (int j = 0; j < width; j++) {
                result[at + j] = (float) sum[j];
            }
        }
        return result;
    }

    private void rows(String name) {
        floats.put(name, times(model.floats(name)));
    }

    private void writer(String name) {
        LinearLayer.Float32 layer = (LinearLayer.Float32) model.linear(name);
        float[] columns = new float[layer.weight().length];
        int inputs = layer.inputs();
        for (int n = 0; n < width; n++) {
            for (int k = 0; k < inputs; k++) {
                columns[k * width + n] = layer.weight()[n * inputs + k];
            }
        }
        float[] turned = times(columns);
        float[] weight = new float[turned.length];
        for (int n = 0; n < width; n++) {
            for (int k = 0; k < inputs; k++) {
                weight[n * inputs + k] = turned[k * width + n];
            }
        }
        linears.put(name, new LinearLayer.Float32(name, width, inputs, weight, times(layer.bias())));
    }

    private void reader(String name, String norm) {
        LinearLayer.Float32 layer = (LinearLayer.Float32) model.linear(name);
        float[] gamma = model.floats(norm + ".weight");
        float[] beta = model.floats(norm + ".bias");
        float[] weight = layer.weight().clone();
        float[] bias = layer.bias().clone();
        for (int n = 0; n < layer.outputs(); n++) {
            double shift = 0;
            for (int c = 0; c < width; c++) {
                shift += (double) weight[n * width + c] * beta[c];
                weight[n * width + c] *= gamma[c];
            }
            bias[n] += (float) shift;
        }
        linears.put(name, new LinearLayer.Float32(name, layer.outputs(), width, times(weight), bias));
    }

    private void clear(String norm) {
        float[] ones = new float[width];
        Arrays.fill(ones, 1f);
        floats.put(norm + ".weight", ones);
        floats.put(norm + ".bias", new float[width]);
    }
}
