package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.kernel.Kernels;
import dev.trivet.kernel.VectorKernels;
import dev.trivet.model.Geometry;
import dev.trivet.model.ModelUnit;
import dev.trivet.model.RandomModel;
import dev.trivet.model.SwinConfig;
import dev.trivet.model.TimmConfig;
import dev.trivet.model.VitConfig;
import dev.trivet.model.VitModel;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** A batch that is run in groups of images gives what its images give; with two threads a member has three, two of them in a group. */
class ImageGroupsTest {
    private static final int IMAGES = 7;

    private static float[] noise(long values, long seed) {
        Random random = new Random(seed);
        float[] noise = new float[Math.toIntExact(values)];
        for (int i = 0; i < noise.length; i++) {
            noise[i] = (float) random.nextGaussian();
        }
        return noise;
    }

    /** 197 x 768 sums of 4 bytes are 0.6 MB, 197 x 1536 1.2 MB, 197 x 3072 2.4 MB, and 3136 x 384 4.8 MB. */
    @ParameterizedTest
    @CsvSource({
        "deit_tiny_patch16_224, 1, 1",
        "deit_tiny_patch16_224, 5, 8",
        "deit_small_patch16_224, 1, 1",
        "deit_small_patch16_224, 5, 4",
        "deit_base_patch16_224, 1, 1",
        "deit_base_patch16_224, 5, 2",
        "swin_tiny_patch4_window7_224, 5, 1",
        "deit_tiny_patch16_224, 1000, 100"
    })
    void areAsLargeAsTheirSumsAllow(String architecture, int megabytes, int images) {
        Geometry geometry = TimmConfig.preset(architecture).geometry();
        assertThat(OperatorCompiler.group(geometry, (long) megabytes << 20, 100))
                .isEqualTo(images);
        assertThat(OperatorCompiler.group(geometry, (long) megabytes << 20, 1)).isEqualTo(1);
    }

    /** Groups of two: the last one has one image. */
    private static ModelExecutor pairs(VitModel model, Kernels kernels) {
        return switch (model.geometry()) {
            case VitConfig vit -> new VitExecutor(model, kernels, IMAGES, VitExecutor.Part.whole(vit), 2);
            case SwinConfig swin ->
                new SwinExecutor(model, kernels, IMAGES, 0, swin.units().size(), 2);
        };
    }

    @ParameterizedTest
    @ValueSource(
            strings = {"vit_micro", "deit_distilled_micro", "vit_gap_micro", "vit_pre_logits_micro", "swin_padded_micro"
            })
    void giveWhatTheirImagesGive(String name) {
        VitModel model = Fixtures.load(Fixtures.golden(name));
        Geometry geometry = model.geometry();
        int length = geometry.channels() * geometry.imageSize() * geometry.imageSize();
        float[] input = noise((long) IMAGES * length, 2);
        for (Kernels kernels : Fixtures.providers()) {
            compare(MaxScaling.quantize(model, noise(length, 1)), kernels, input);
            compare(model, kernels, input);
        }
    }

    private static void compare(VitModel model, Kernels kernels, float[] input) {
        try (ModelExecutor grouped = pairs(model, kernels);
                ModelSession one = grouped.openSession();
                ModelExecutor single = ModelExecutor.compile(model, kernels, 1);
                ModelSession ofSingle = single.openSession()) {
            float[] expected = new float[0];
            for (int i = 0; i < IMAGES; i++) {
                float[] logits = run(one, part(input, i), 1, Optional.empty());
                logits = Arrays.copyOf(logits, logits.length / IMAGES);
                expected = joined(expected, logits);
                if (model.isQuantized()) { // a float head of a single row may be added up in another order
                    assertThat(run(ofSingle, part(input, i), 1, Optional.empty()))
                            .isEqualTo(logits);
                }
            }
            for (int threads : new int[] {1, 2}) {
                try (ModelSession session = grouped.openSession(threads)) {
                    assertThat(run(session, input, IMAGES, Optional.empty()))
                            .as(kernels.name())
                            .isEqualTo(expected);
                    assertThat(run(session, input, IMAGES, Optional.of(new LayerObserver() {})))
                            .isEqualTo(expected);
                }
            }
        }
    }

    private static float[] run(ModelSession session, float[] input, int images, Optional<LayerObserver> watcher) {
        MemorySegment in = session.allocateInput();
        MemorySegment logits = session.allocateLogits();
        MemorySegment.copy(input, 0, in, JAVA_FLOAT, 0, input.length);
        session.run(in, images, logits, watcher);
        return logits.toArray(JAVA_FLOAT);
    }

    private static float[] joined(float[] a, float[] b) {
        float[] both = Arrays.copyOf(a, a.length + b.length);
        System.arraycopy(b, 0, both, a.length, b.length);
        return both;
    }

    /** What a unit gives of some images' values, and of a block what its attention and its MLP alone give. */
    private static List<float[]> unit(ModelSession session, Geometry geometry, int unit, float[] values, int images) {
        ModelUnit description = geometry.units().get(unit);
        MemorySegment in = unit == 0 ? session.allocateInput() : session.allocateTokens();
        MemorySegment out = description instanceof ModelUnit.Head ? session.allocateLogits() : session.allocateTokens();
        MemorySegment.copy(values, 0, in, JAVA_FLOAT, 0, values.length);
        session.runUnit(unit, in, images, out, Optional.empty());
        List<float[]> given = new ArrayList<>();
        given.add(out.asSlice(0, 4L * images * description.output().values()).toArray(JAVA_FLOAT));
        if (description instanceof ModelUnit.Block) {
            session.runUnit(unit, in, images, in, Optional.empty()); // in place
            given.add(in.asSlice(0, 4L * values.length).toArray(JAVA_FLOAT));
            assertThat(given.getLast()).isEqualTo(given.getFirst());
            MemorySegment.copy(values, 0, in, JAVA_FLOAT, 0, values.length);
            session.runAttention(unit, in, images);
            given.add(in.asSlice(0, 4L * values.length).toArray(JAVA_FLOAT));
            MemorySegment.copy(values, 0, in, JAVA_FLOAT, 0, values.length);
            session.runMlp(unit, in, images);
            given.add(in.asSlice(0, 4L * values.length).toArray(JAVA_FLOAT));
        }
        return given;
    }

    @ParameterizedTest
    @ValueSource(strings = {"vit_micro", "swin_padded_micro"})
    void ofUnitsGiveWhatTheirImagesGive(String name) {
        VitModel model = Fixtures.load(Fixtures.golden(name));
        Geometry geometry = model.geometry();
        Kernels kernels = new VectorKernels();
        try (ModelExecutor grouped = pairs(model, kernels);
                ModelSession session = grouped.openSession();
                ModelExecutor single = ModelExecutor.compile(model, kernels, 1);
                ModelSession one = single.openSession()) {
            for (int u = 0; u < geometry.units().size(); u++) {
                float[] values = noise(IMAGES * geometry.units().get(u).input().values(), u);
                List<float[]> together = unit(session, geometry, u, values, IMAGES);
                for (int i = 0; i < IMAGES; i++) {
                    List<float[]> alone = unit(one, geometry, u, part(values, i), 1);
                    for (int given = 0; given < alone.size(); given++) {
                        assertThat(alone.get(given)).isEqualTo(part(together.get(given), i));
                    }
                }
            }
        }
    }

    /** At a model's own width and number of tokens, where a provider's scratch memory holds what other products left there. */
    @ParameterizedTest
    @ValueSource(strings = {"deit_small_patch16_224", "deit_tiny_patch16_384"}) // the second: heads one by one
    void blocksOfRealSizeGiveTheSameHoweverMany(String architecture) {
        VitModel model = RandomModel.of(architecture, 1);
        Geometry geometry = model.geometry();
        model = MaxScaling.quantize(model, noise(3L * geometry.imageSize() * geometry.imageSize(), 1));
        float[] tokens = noise(4L * model.vit().tokens() * model.vit().width(), 2);
        float[] expected = twoBlocks(model, new VectorKernels(), 4, tokens);
        for (Kernels kernels : Fixtures.providers()) {
            if (kernels.needsWarmUp()) { // the reference takes a minute
                for (int group : new int[] {1, 2, 4}) {
                    assertThat(twoBlocks(model, kernels, group, tokens))
                            .as(kernels.name() + ", " + group + " at once")
                            .isEqualTo(expected);
                }
            }
        }
    }

    private static float[] twoBlocks(VitModel model, Kernels kernels, int group, float[] tokens) {
        VitExecutor.Part part = VitExecutor.Part.ofUnits(model.vit(), 1, 3);
        try (VitExecutor executor = new VitExecutor(model, kernels, 4, part, group);
                ModelSession session = executor.openSession()) {
            MemorySegment stream = session.allocateTokens();
            MemorySegment.copy(tokens, 0, stream, JAVA_FLOAT, 0, tokens.length);
            session.runUnit(1, stream, 4, stream, Optional.empty());
            session.runUnit(2, stream, 4, stream, Optional.empty());
            return stream.toArray(JAVA_FLOAT);
        }
    }

    private static float[] part(float[] values, int image) {
        int length = values.length / IMAGES;
        return Arrays.copyOfRange(values, image * length, (image + 1) * length);
    }
}
