package dev.trivet.runtime;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.trivet.BadInputException;
import dev.trivet.format.ModelFile;
import dev.trivet.image.RgbImage;
import dev.trivet.kernel.VectorKernels;
import dev.trivet.model.VitModel;
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.lang.ref.WeakReference;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TrivetModelTest {
    private static RgbImage noise(long seed) {
        byte[] pixels = new byte[80 * 70 * 3];
        new Random(seed).nextBytes(pixels);
        return new RgbImage(80, 70, pixels);
    }

    @Test
    void classesComeMostProbableFirst() {
        try (TrivetModel model = TrivetModel.load(Fixtures.golden("vit_micro"))) {
            RgbImage image = noise(1);
            float[] logits = model.logits(image);
            List<TrivetModel.Prediction> all = model.classify(image, 10);
            assertThat(all).hasSize(10);
            assertThat(all.stream()
                            .mapToDouble(TrivetModel.Prediction::probability)
                            .sum())
                    .isCloseTo(1, within(1e-12));
            double sum = 0;
            for (float v : logits) {
                sum += Math.exp(v);
            }
            for (int i = 0; i < all.size(); i++) {
                TrivetModel.Prediction p = all.get(i);
                assertThat(p.probability()).isCloseTo(Math.exp(logits[p.index()]) / sum, within(1e-12));
                assertThat(p.label()).isEqualTo(Integer.toString(p.index()));
                assertThat(i == 0 || p.probability() <= all.get(i - 1).probability())
                        .isTrue();
            }
            assertThat(model.classify(image, 3)).isEqualTo(all.subList(0, 3));
            assertThat(model.classify(image, 50)).isEqualTo(all);
            assertThat(model.classify(image)).isEqualTo(all.getFirst());
            assertThatThrownBy(() -> model.classify(image, 0)).isInstanceOf(IllegalArgumentException.class);
        }
    }

    /** The codes of a large model take as much memory as all that is computed with. */
    @Test
    void theParametersMayGoOnceTheyAreCompiled() {
        List<WeakReference<VitModel>> seen = new ArrayList<>();
        try (TrivetModel model = compiled(seen)) {
            WeakReference<VitModel> parameters = seen.getFirst();
            for (int i = 0; i < 50 && parameters.get() != null; i++) {
                System.gc();
            }
            assertThat(parameters.get()).isNull();
            assertThat(model.classify(noise(1)).probability()).isPositive();
        }
    }

    private static TrivetModel compiled(List<WeakReference<VitModel>> seen) {
        VitModel parameters =
                ModelFile.read(Fixtures.golden("vit_micro"), Optional.empty()).model();
        seen.add(new WeakReference<>(parameters));
        return new TrivetModel(parameters, new VectorKernels(), 1);
    }

    @Test
    void handWorkedOrder() {
        try (TrivetModel model = new TrivetModel(
                PixelModel.of(new int[] {0, 1, 2, 3, 4, 5}, new float[6])
                        .withLabels(List.of("a", "b", "c", "d", "e", "f")),
                new VectorKernels(),
                1)) {
            assertThat(model.classify(PixelModel.image(10, 60, 20, 60, 40, 0), 6))
                    .extracting(TrivetModel.Prediction::label)
                    .containsExactly("b", "d", "e", "c", "a", "f");
        }
    }

    /** The best class of a file is that of its pixels. */
    @Test
    void aFileIsClassifiedByItsPixels(@TempDir Path folder) throws IOException {
        byte[] rgb = PixelModel.image(10, 60, 20, 60, 40, 0).pixels();
        BufferedImage pixels = new BufferedImage(2, 2, BufferedImage.TYPE_INT_RGB);
        for (int i = 0; i < 4; i++) {
            pixels.setRGB(i % 2, i / 2, rgb[3 * i] << 16 | rgb[3 * i + 1] << 8 | rgb[3 * i + 2]);
        }
        Path file = folder.resolve("image.png");
        ImageIO.write(pixels, "png", file.toFile());
        try (TrivetModel model = new TrivetModel(
                PixelModel.of(new int[] {0, 1, 2, 3, 4, 5}, new float[6])
                        .withLabels(List.of("a", "b", "c", "d", "e", "f")),
                new VectorKernels(),
                1)) {
            assertThat(model.classify(file).label()).isEqualTo("b");
            assertThat(model.classify(file)).isEqualTo(model.classify(file, 6).getFirst());
        }
    }

    @Test
    void threadsShareAModel() throws Exception {
        try (TrivetModel model = TrivetModel.load(Fixtures.golden("deit_distilled_micro"));
                ExecutorService threads = Executors.newFixedThreadPool(4)) {
            List<float[]> expected = new ArrayList<>();
            for (int i = 0; i < 6; i++) {
                expected.add(model.logits(noise(i)));
            }
            List<Future<float[]>> results = new ArrayList<>();
            for (int i = 0; i < 60; i++) {
                RgbImage image = noise(i % 6);
                results.add(threads.submit(() -> model.logits(image)));
            }
            for (int i = 0; i < 60; i++) {
                assertThat(results.get(i).get()).isEqualTo(expected.get(i % 6));
            }
        }
    }

    /** Calls alone, spread over threads, and calls at the same time, on one each, in turns. */
    @Test
    void threadsOfACallDoNotShow() throws Exception {
        Path file = Fixtures.golden("swin_micro");
        List<float[]> expected = new ArrayList<>();
        try (TrivetModel one = TrivetModel.load(file, 1)) {
            for (int i = 0; i < 4; i++) {
                expected.add(one.logits(noise(i)));
            }
        }
        try (TrivetModel model = TrivetModel.load(file, 3);
                ExecutorService callers = Executors.newFixedThreadPool(2)) {
            model.logits(noise(0));
            model.warmUp(); // calls are spread from here on
            model.logits(noise(0));
            assertThat(Thread.getAllStackTraces().keySet())
                    .extracting(Thread::getName)
                    .contains("trivet-2");
            for (int round = 0; round < 3; round++) {
                for (int i = 0; i < 4; i++) {
                    assertThat(model.logits(noise(i))).isEqualTo(expected.get(i));
                }
                List<Future<float[]>> results = new ArrayList<>();
                for (int i = 0; i < 12; i++) {
                    RgbImage image = noise(i % 4);
                    results.add(callers.submit(() -> model.logits(image)));
                }
                for (int i = 0; i < 12; i++) {
                    assertThat(results.get(i).get()).isEqualTo(expected.get(i % 4));
                }
            }
        }
        assertThatThrownBy(() -> TrivetModel.load(file, 0))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("0 threads");
    }

    /** A call that is under way has all it needs until it returns. */
    @Test
    void closingWaitsForCalls() throws Exception {
        List<float[]> expected = new ArrayList<>();
        try (TrivetModel one = TrivetModel.load(Fixtures.golden("vit_micro"), 1)) {
            expected.add(one.logits(noise(1)));
        }
        for (int round = 0; round < 20; round++) {
            TrivetModel model = TrivetModel.load(Fixtures.golden("vit_micro"), 1);
            try (ExecutorService callers = Executors.newFixedThreadPool(3)) {
                List<Future<Integer>> calls = new ArrayList<>();
                for (int i = 0; i < 3; i++) {
                    calls.add(callers.submit(() -> {
                        for (int done = 0; ; done++) {
                            try {
                                assertThat(model.logits(noise(1))).isEqualTo(expected.getFirst());
                            } catch (IllegalStateException e) {
                                assertThat(e).hasMessage("the model is closed");
                                return done;
                            }
                        }
                    }));
                }
                model.logits(noise(2));
                Thread.sleep(round);
                model.close();
                for (Future<Integer> call : calls) {
                    assertThat(call.get()).isNotNegative();
                }
            }
        }
    }

    @Test
    void aClosedModelRefusesWorkAndMayBeClosedAgain() {
        TrivetModel model = TrivetModel.load(Fixtures.golden("vit_gap_micro"));
        model.logits(noise(1));
        model.close();
        assertThatThrownBy(() -> model.logits(noise(1)))
                .isInstanceOf(IllegalStateException.class)
                .hasMessage("the model is closed");
        model.close();
    }

    @Test
    void whatIsNoModelIsRefused() {
        Path absent = Path.of("absent.safetensors");
        assertThatThrownBy(() -> TrivetModel.load(absent))
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith("absent.safetensors: no such model");
    }
}
