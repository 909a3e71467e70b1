package dev.trivet.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.JsonNode;

/** {@code bench} and {@code export} without ONNX Runtime, which is not on the class path here. */
class BenchTest {
    private static CommandRun bench(Object... arguments) {
        Object[] all = new Object[arguments.length + 5];
        all[0] = "bench";
        System.arraycopy(arguments, 0, all, 1, arguments.length);
        List<String> quick = List.of("--rounds", "3", "--turn", "0.01");
        for (int i = 0; i < quick.size(); i++) {
            all[1 + arguments.length + i] = quick.get(i);
        }
        return CommandRun.of(all);
    }

    @Test
    void measuresEveryThreadCountAndBatch() {
        CommandRun run = bench(Fixtures.golden("vit_micro"), "--threads", "1,2", "--batch", "1,2", "--json");
        assertThat(run.exit()).as(run.err()).isZero();
        JsonNode json = run.json();
        List<String> measured = json.path("measurements")
                .valueStream()
                .filter(m -> m.path("model").asString().endsWith("float32")
                        && m.path("roofline_share").asDouble() > 0)
                .map(m -> m.path("threads") + "/" + m.path("batch") + "/" + m.path("callers") + "x"
                        + m.path("threads_per_call"))
                .toList();
        assertThat(measured)
                .containsExactly("1/1/1x1", "1/2/1x1", "2/1/2x1", "2/1/1x2", "2/1/1x1", "2/2/2x1", "2/2/1x2");
        for (JsonNode m : json.path("measurements")) {
            double rate = m.path("images_per_second").asDouble();
            assertThat(rate)
                    .isPositive()
                    .isLessThanOrEqualTo(m.path("best_images_per_second").asDouble());
            double images = m.path("callers").asDouble() * m.path("batch").asDouble();
            assertThat(m.path("milliseconds_per_call").asDouble() * rate).isBetween(999.9 * images, 1000.1 * images);
        }
        assertThat(json.path("first_image").path("seconds").asDouble()).isPositive();
        double shares = json.path("operator_shares")
                .valueStream()
                .flatMap(JsonNode::valueStream)
                .mapToDouble(JsonNode::asDouble)
                .sum();
        assertThat(shares).isBetween(0.999, 1.001);
        assertThat(json.path("ratios")).isEmpty();
    }

    @Test
    void comparesAQuantizedModelWithItsFloatOne() {
        CommandRun run =
                bench("--random", "--architecture", "deit_tiny_patch16_32", "--threads", "1", "--batch", "1", "--json");
        assertThat(run.exit()).as(run.err()).isZero();
        JsonNode ratio = run.json().path("ratios").path(0);
        assertThat(ratio.path("model").asString()).isEqualTo("random deit_tiny_patch16_32, W8A8");
        assertThat(ratio.path("over").asString()).contains("float32");
        assertThat(ratio.path("ratio").asDouble()).isPositive();
    }

    @Test
    void writesAModelOfRandomWeights(@TempDir Path folder) {
        Path file = folder.resolve("random.safetensors");
        bench("--random", "--architecture", "deit_tiny_patch16_32", "-o", file).good();
        CommandRun run = bench(file, "--threads", "1", "--batch", "1", "--json");
        assertThat(run.exit()).as(run.err()).isZero();
        assertThat(run.json().path("first_image").path("model").asString()).isEqualTo("deit_tiny_patch16_32, W8A8");
    }

    @Test
    void soakRepeatsTheFirstResult() {
        CommandRun run = CommandRun.of(
                "bench", Fixtures.golden("vit_micro"), "--soak", "0.02", "--threads", "2", "--batch", "3", "--json");
        assertThat(run.exit()).as(run.err()).isZero();
        JsonNode json = run.json();
        assertThat(json.path("identical").asBoolean()).isTrue();
        assertThat(json.path("difference").isNull()).isTrue();
        assertThat(json.path("threads").asInt()).isEqualTo(2);
        assertThat(json.path("samples")).hasSize(3);
        long images = json.path("images").asLong();
        assertThat(images).isPositive();
        assertThat(images % 3).isZero();
        assertThat(json.path("samples").path(2).path("images").asLong()).isEqualTo(images);
        assertThat(json.path("samples").path(2).path("heap_bytes").asLong()).isPositive();
    }

    @Test
    void refusesWhatItCannotMeasure() {
        bench().refused("nothing to measure");
        bench("--random").refused("--random", "--architecture");
        bench(Fixtures.golden("vit_micro"), "--against", "torch").refused("torch", "onnxruntime");
        bench(Fixtures.golden("vit_micro"), "--trim").refused("--trim", "--against");
        bench(Fixtures.golden("vit_micro"), "--batch", "0").refused("--batch 0");
        bench(Fixtures.golden("vit_micro"), "--patience", "-1").refused("--patience");
        bench(Fixtures.golden("vit_micro"), "--soak", "0").refused("--soak 0");
        bench(Fixtures.golden("vit_micro"), "--soak", "1", "--threads", "1,2").refused("--soak", "--threads");
        bench(Fixtures.golden("vit_micro"), "-o", "m.safetensors").refused("--output", "--random");
        bench("--soak", "1").refused("--soak", "MODEL");
        bench("--random", "--architecture", "resnet50").refused("resnet50");
        bench(Fixtures.golden("vit_micro"), Fixtures.golden("vit_micro")).refused("is given twice");
        bench(Fixtures.golden("vit_micro"), "--random", "--architecture", "deit_tiny_patch16_32")
                .refused("--random");
        Path weights = Fixtures.golden("vit_micro").resolve("model.safetensors");
        CommandRun.of("export", Fixtures.golden("vit_micro"), "--onnx", weights).refused("is the model itself");
    }

    @Test
    void exportsWithoutARuntime(@TempDir Path folder) {
        Path file = folder.resolve("vit.onnx");
        CommandRun run = CommandRun.of("export", Fixtures.golden("vit_micro"), "--onnx", file, "--json")
                .good();
        assertThat(run.json().path("bytes").asLong())
                .isEqualTo(file.toFile().length())
                .isPositive();
        assertThat(run.json().path("agreement").isNull()).isTrue();
    }
}
