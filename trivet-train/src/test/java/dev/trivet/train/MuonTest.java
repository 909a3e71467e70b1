package dev.trivet.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.bytedeco.pytorch.global.torch.zeros;

import dev.trivet.model.Pooling;
import dev.trivet.model.VitConfig;
import java.nio.FloatBuffer;
import java.util.Random;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.DisabledIfSystemProperty;

@DisabledIfSystemProperty(named = "trivet.nopytorch", matches = ".*", disabledReason = "no PyTorch in this build")
class MuonTest {
    @BeforeAll
    static void load() {
        Torch.load();
    }

    /** On a diagonal matrix the iteration works on each entry alone, so it can be followed with scalars. */
    @Test
    void iteratesTheAuthorsPolynomial() {
        try (PointerScope _ = new PointerScope()) {
            double[] diagonal = {3, 4};
            Tensor matrix = tensor(new float[] {3, 0, 0, 4}, 1, 2, 2);
            FloatBuffer found = Torch.floats(Muon.orthogonal(matrix).contiguous());
            for (int i = 0; i < 2; i++) {
                double x = diagonal[i] / 5; // the matrix has norm 5
                for (int step = 0; step < 5; step++) {
                    x = 3.4445 * x - 4.7750 * Math.pow(x, 3) + 2.0315 * Math.pow(x, 5);
                }
                assertThat((double) found.get(3 * i)).isCloseTo(x, within(1e-4));
            }
            assertThat(found.get(1)).isZero();
        }
    }

    /** The authors give singular values of 0.7 to 1.2 after five steps; U^T U then has them squared on its diagonal. */
    @Test
    void makesTallAndWideMatricesNearlyOrthogonal() {
        for (long[] shape : new long[][] {{3, 4, 9}, {3, 9, 4}}) {
            try (PointerScope _ = new PointerScope()) {
                Random random = new Random(4);
                float[] values = new float[(int) (shape[0] * shape[1] * shape[2])];
                for (int i = 0; i < values.length; i++) {
                    values[i] = (float) random.nextGaussian();
                }
                Tensor orthogonal = Muon.orthogonal(tensor(values, shape));
                Tensor product = shape[1] < shape[2]
                        ? orthogonal.bmm(orthogonal.transpose(1, 2))
                        : orthogonal.transpose(1, 2).bmm(orthogonal);
                FloatBuffer found = Torch.floats(product.contiguous());
                for (int n = 0; n < 3; n++) {
                    for (int i = 0; i < 4; i++) {
                        for (int j = 0; j < 4; j++) {
                            float value = found.get((n * 4 + i) * 4 + j);
                            if (i == j) {
                                assertThat(value).isBetween(0.4f, 1.5f);
                            } else {
                                assertThat(Math.abs(value)).isLessThan(0.5f);
                            }
                        }
                    }
                }
            }
        }
    }

    /** First step from m = 0: the direction is that of the gradient, and its size is rate * 0.5 per value on average. */
    @Test
    void movesTheBlocksMatricesAndNothingElse() {
        VitConfig config = new VitConfig(8, 4, 1, 8, 2, 2, 16, 3, Pooling.TOKEN, true, false, true, 1e-6f);
        ParameterLayout layout = ParameterLayout.of(config);
        Random random = new Random(2);
        float[] gradient = new float[layout.total()];
        for (int i = 0; i < gradient.length; i++) {
            gradient[i] = (float) random.nextGaussian();
        }
        try (PointerScope _ = new PointerScope();
                Tensor values = zeros(layout.total());
                Tensor gradients = tensor(gradient, layout.total());
                Muon muon = new Muon(values, gradients, layout, 0)) {
            muon.step(0.1);
            FloatBuffer moved = Torch.floats(values);
            FloatBuffer left = Torch.floats(gradients);
            for (ParameterLayout.Slot slot : layout.slots()) {
                boolean matrix =
                        slot.name().startsWith("blocks.") && slot.shape().size() == 2;
                double square = 0;
                double along = 0;
                for (int i = slot.offset(); i < slot.offset() + slot.size(); i++) {
                    square += moved.get(i) * moved.get(i);
                    along += moved.get(i) * gradient[i];
                    assertThat(left.get(i)).as(slot.name()).isEqualTo(matrix ? 0 : gradient[i]);
                }
                double rms = Math.sqrt(square / slot.size());
                if (matrix) {
                    assertThat(rms).as(slot.name()).isBetween(0.1 * 0.5 * 0.6, 0.1 * 0.5 * 1.3);
                    assertThat(along).as(slot.name()).isNegative();
                } else {
                    assertThat(rms).as(slot.name()).isZero();
                }
            }
        }
    }

    @Test
    void findsEveryMatrixOfEveryBlock() {
        ParameterLayout layout =
                ParameterLayout.of(new VitConfig(8, 4, 1, 8, 3, 2, 16, 3, Pooling.TOKEN, true, false, true, 1e-6f));
        for (ParameterLayout.MatrixGroup group : layout.matrixGroups()) {
            for (int block = 0; block < 3; block++) {
                String name = group.name().replace("*", String.valueOf(block));
                ParameterLayout.Slot slot = layout.slots().stream()
                        .filter(s -> s.name().equals(name))
                        .findFirst()
                        .orElseThrow();
                assertThat(group.offset() + block * group.stride()).isEqualTo(slot.offset());
                assertThat(group.rows() * group.columns()).isEqualTo(slot.size());
            }
        }
        assertThat(layout.matrixGroups())
                .extracting(ParameterLayout.MatrixGroup::name)
                .containsExactly(
                        "blocks.*.attn.qkv.weight",
                        "blocks.*.attn.proj.weight",
                        "blocks.*.mlp.fc1.weight",
                        "blocks.*.mlp.fc2.weight");
    }

    /** Stages have blocks of their own width; a merging is a group of one. */
    @Test
    void findsTheMatricesOfEachStageOfASwin() {
        ParameterLayout layout = ParameterLayout.of(ModelProbe.SMALL_SWIN);
        assertThat(layout.matrixGroups())
                .extracting(
                        group -> group.name() + " " + group.count() + " x " + group.rows() + " x " + group.columns())
                .containsExactly(
                        "layers.0.blocks.*.attn.qkv.weight 2 x 24 x 8",
                        "layers.0.blocks.*.attn.proj.weight 2 x 8 x 8",
                        "layers.0.blocks.*.mlp.fc1.weight 2 x 16 x 8",
                        "layers.0.blocks.*.mlp.fc2.weight 2 x 8 x 16",
                        "layers.1.downsample.reduction.weight 1 x 16 x 32",
                        "layers.1.blocks.*.attn.qkv.weight 1 x 48 x 16",
                        "layers.1.blocks.*.attn.proj.weight 1 x 16 x 16",
                        "layers.1.blocks.*.mlp.fc1.weight 1 x 32 x 16",
                        "layers.1.blocks.*.mlp.fc2.weight 1 x 16 x 32");
        for (ParameterLayout.MatrixGroup group : layout.matrixGroups()) {
            for (int block = 0; block < group.count(); block++) {
                String name = group.name().replace("*", String.valueOf(block));
                int offset = group.offset() + block * group.stride();
                assertThat(layout.slots()).anyMatch(slot -> slot.name().equals(name) && slot.offset() == offset);
            }
        }
    }

    private static Tensor tensor(float[] values, long... shape) {
        Tensor tensor = zeros(shape);
        Torch.floats(tensor).put(values);
        return tensor;
    }
}
