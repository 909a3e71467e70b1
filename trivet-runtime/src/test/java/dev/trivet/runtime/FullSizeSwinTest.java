package dev.trivet.runtime;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.format.ModelFile;
import dev.trivet.kernel.KernelSelection;
import dev.trivet.model.TimmConfig;
import dev.trivet.model.VitTensors;
import dev.trivet.tensor.SafetensorsWriter;
import dev.trivet.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Published sizes, with random weights: read from a file and run. The parameter counts are the published ones. */
class FullSizeSwinTest {
    @TempDir
    Path folder;

    @ParameterizedTest
    @CsvSource({
        "swin_tiny_patch4_window7_224, 28288354",
        "swin_small_patch4_window7_224, 49606258",
        "swin_base_patch4_window7_224, 87768224",
        "deit_base_patch16_224, 86567656"
    })
    void isReadAndRun(String architecture, long parameters) {
        Path file = folder.resolve("model.safetensors");
        SafetensorsWriter.write(file, tensors(architecture), Map.of());
        ModelFile read = ModelFile.read(file, Optional.of(architecture));
        assertThat(read.model().parameters()).isEqualTo(parameters);
        try (ModelExecutor executor = ModelExecutor.compile(
                        read.model(), KernelSelection.get().kernels(), 1);
                ModelSession session = executor.openSession()) {
            MemorySegment input = session.allocateInput();
            MemorySegment logits = session.allocateLogits();
            SplittableRandom random = new SplittableRandom(2);
            for (long i = 0; i < input.byteSize() / 4; i++) {
                input.setAtIndex(JAVA_FLOAT, i, random.nextFloat() - 0.5f);
            }
            session.run(input, 1, logits);
            float[] first = logits.toArray(JAVA_FLOAT);
            assertThat(IntStream.range(0, 1000)
                            .mapToDouble(i -> first[i])
                            .distinct()
                            .count())
                    .isGreaterThan(900);
            assertThat(first).doesNotContain(Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY);
            session.run(input, 1, logits.fill((byte) 0));
            assertThat(logits.toArray(JAVA_FLOAT)).isEqualTo(first);
            // Watched, all of the last block is computed.
            session.run(input, 1, logits.fill((byte) 0), Optional.of(new LayerObserver() {}));
            assertThat(logits.toArray(JAVA_FLOAT)).isEqualTo(first);
        }
    }

    private static List<Tensor> tensors(String architecture) {
        SplittableRandom random = new SplittableRandom(1);
        VitTensors wanted = VitTensors.of(TimmConfig.preset(architecture).geometry());
        List<Tensor> tensors = new ArrayList<>();
        for (VitTensors.Linear linear : wanted.linears()) {
            float spread = (float) Math.sqrt(12.0 / linear.inputs());
            tensors.add(tensor(random, linear.weight(), linear.fileShape(), 0, spread));
            if (linear.bias()) {
                tensors.add(tensor(random, linear.biasName(), List.of((long) linear.outputs()), 0, 0.1f));
            }
        }
        wanted.floats()
                .forEach((name, shape) -> tensors.add(
                        tensor(random, name, shape, name.contains("norm") && name.endsWith("weight") ? 1 : 0, 0.1f)));
        return tensors;
    }

    private static Tensor tensor(SplittableRandom random, String name, List<Long> shape, float middle, float spread) {
        float[] values = new float[Math.toIntExact(shape.stream().reduce(1L, Math::multiplyExact))];
        for (int i = 0; i < values.length; i++) {
            values[i] = middle + spread * (random.nextFloat() - 0.5f);
        }
        return Tensor.ofFloats(
                name, values, shape.stream().mapToLong(Long::longValue).toArray());
    }
}
