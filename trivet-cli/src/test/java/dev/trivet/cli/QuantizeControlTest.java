package dev.trivet.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.trivet.format.ModelFile;
import dev.trivet.model.LinearLayer;
import dev.trivet.model.VitNames;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.FileTime;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;

/** Plans, mixed precision, seeds and resuming, from the command line. */
class QuantizeControlTest {
    private static final Path MODEL = Fixtures.golden("vit_micro");

    @TempDir
    Path temp;

    private Path images;

    @BeforeEach
    void calibration() {
        images = Fixtures.imageFolder(temp.resolve("images"), 2, 6);
    }

    private Object[] quantize(Path output, Object... more) {
        List<Object> words = new ArrayList<>(
                List.of("quantize", MODEL, "--calibration", images, "--images", 8, "--threads", 2, "-o", output));
        words.addAll(Arrays.asList(more));
        return words.toArray();
    }

    /** What is asked for stands in the plan, in the file and in everything that is printed. */
    @Test
    void ternaryWeights() throws IOException {
        CommandRun listed = CommandRun.of("quantize", MODEL, "--plan-only", "--weight-bits", "ternary")
                .good();
        assertThat(listed.out()).containsPattern("blocks\\.0\\.attn\\.qkv +ternary +channel +8 +asymmetric");
        String json = CommandRun.of("quantize", MODEL, "--plan-only", "--bits", "ternary", "--json")
                .good()
                .out();
        assertThat(json)
                .containsPattern("\"blocks.1.mlp.fc2\",\\s+\"weight_bits\" : \"ternary\",\\s+\"activation_bits\" : 8,")
                .containsPattern("\"head\",\\s+\"weight_bits\" : 8,\\s+\"activation_bits\" : 8,");
        assertThat(CommandRun.of(
                                "quantize",
                                MODEL,
                                "--plan-only",
                                "--bits",
                                "ternary",
                                "--edge-bits",
                                "ternary",
                                "--json")
                        .good()
                        .out())
                .doesNotContain("\"weight_bits\" : 8");
        Path plan = Files.writeString(temp.resolve("plan.json"), json);
        Path output = temp.resolve("q.safetensors");
        CommandRun.of(quantize(output, "--plan", plan)).good();
        Path direct = temp.resolve("direct.safetensors");
        CommandRun.of(quantize(direct, "--bits", "ternary")).good();
        ModelFile written = ModelFile.read(direct, Optional.empty());
        assertThat(written.version()).hasValue(3);
        assertThat(Files.readAllBytes(output)).isEqualTo(Files.readAllBytes(direct));
        assertThat(written.provenance().orElseThrow().plan().orElseThrow())
                .contains("\"operator\":\"blocks.1.mlp.fc1\",\"weight_bits\":\"ternary\",\"activation_bits\":8");
        String inspected = CommandRun.of("inspect", direct).good().out();
        assertThat(inspected)
                .contains("Wternary/8A8, format 3")
                .containsPattern("blocks\\.0\\.mlp\\.fc1 .* ternary per channel")
                .contains("8 bit per channel");
        JsonNode operators =
                CommandRun.of("inspect", direct, "--json").good().json().path("operators");
        assertThat(operators.path(1).path("weights").path("bits").asString()).isEqualTo("ternary");
        assertThat(operators.path(1).path("weights").has("coding")).isFalse();
        CommandRun.of(quantize(output, "--bits", "ternary", "--mixed", "--average-bits", 4))
                .refused("--mixed", "leave it or ternary out");
    }

    @Test
    void aPrintedPlanCanBeEditedAndTakenBack() throws IOException {
        CommandRun listed =
                CommandRun.of("quantize", MODEL, "--plan-only", "--bits", 6).good();
        assertThat(listed.out()).contains("blocks.0.attn.qkv", "u8s8", "asymmetric or levels", "channel");
        String json = CommandRun.of("quantize", MODEL, "--plan-only", "--bits", 6, "--json")
                .good()
                .out();
        // blocks.1.mlp.fc1 stays in float, everything else in six bits, the ends in eight.
        String edited = json.replaceAll(
                "(?<a>\"operator\" : \"blocks.1.mlp.fc1\",\\s+\"weight_bits\" : )6(?<b>,\\s+\"activation_bits\" : )6",
                "${a}32${b}32");
        assertThat(edited).isNotEqualTo(json);
        Path plan = Files.writeString(temp.resolve("plan.json"), edited);
        Path output = temp.resolve("q.safetensors");
        CommandRun.of(quantize(output, "--plan", plan)).good();
        ModelFile written = ModelFile.read(output, Optional.empty());
        assertThat(written.model().linear(VitNames.hidden(1))).isInstanceOf(LinearLayer.Float32.class);
        assertThat(written.model().linear(VitNames.hidden(0)))
                .isInstanceOfSatisfying(
                        LinearLayer.Quantized.class, q -> assertThat(q.bits()).isEqualTo(6));
        assertThat(written.provenance().orElseThrow().plan().orElseThrow())
                .contains("\"operator\":\"blocks.1.mlp.fc1\",\"weight_bits\":32,\"activation_bits\":32");
        assertThat(written.provenance().orElseThrow().facts())
                .containsEntry("seed", "0")
                .containsEntry("calibration_images", "8")
                .containsKeys("source_sha256", "calibration_sha256", "settings", "plan_sha256", "tool");
        assertThat(CommandRun.of("inspect", output).good().out()).contains("calibration_sha256", "blocks.1.mlp.fc1");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{}",
                "[",
                "{\"operators\":[]}",
                "{\"operators\":[{\"operator\":\"blocks.0.attn.qkv\",\"weight_bits\":1,\"activation_bits\":4}]}",
                "{\"operators\":[{\"operator\":\"nonsense\",\"weight_bits\":4,\"activation_bits\":4}]}",
                "{\"operators\":[{\"operator\":7,\"weight_bits\":4,\"activation_bits\":4}]}"
            })
    void aFileThatIsNoPlanIsRefused(String text) throws IOException {
        Path plan = Files.writeString(temp.resolve("plan.json"), text);
        Path output = temp.resolve("q.safetensors");
        CommandRun.of(quantize(output, "--plan", plan))
                .refused(plan, "is no plan for this model", "--plan-only --json");
        assertThat(output).doesNotExist();
    }

    @Test
    void mixedPrecisionKeepsBelowTheTarget() throws IOException {
        Path six = temp.resolve("six.safetensors");
        CommandRun.of(quantize(six, "--bits", 6)).good();
        Path output = temp.resolve("mixed.safetensors");
        double megabytes = Files.size(six) / 1e6;
        CommandRun run = CommandRun.of(quantize(output, "--bits", 6, "--mixed", "--target-size", megabytes));
        assertThat(run.exit()).as(run.err()).isZero();
        assertThat(run.err()).contains("Pareto frontier", "blocks.0.attn", "omega");
        assertThat(Files.size(output)).isLessThanOrEqualTo((long) (megabytes * 1e6));
        String report = ModelFile.read(output, Optional.empty())
                .provenance()
                .orElseThrow()
                .report()
                .orElseThrow();
        assertThat(report).contains("\"sensitivity\"", "\"frontier\"", "\"chosen_bits\"", "\"reason\"");
    }

    @Test
    void aSizeThatCannotBeIsRefusedBeforeTheSearch() {
        Path output = temp.resolve("mixed.safetensors");
        CommandRun.of(quantize(output, "--bits", 6, "--mixed", "--target-size", 0.001))
                .refused("a file of 1000 bytes cannot be made", "every module at 4 bits", "ask for at least that");
        assertThat(output).doesNotExist();
        assertThat(temp.resolve("mixed.safetensors.partial")).doesNotExist();
    }

    @Test
    void resumingNothingSaysSo() {
        Path output = temp.resolve("q.safetensors");
        CommandRun run = CommandRun.of(quantize(output, "--method", "liu2021", "--rounds", 0, "--resume"));
        assertThat(run.exit()).as(run.err()).isZero();
        assertThat(run.err()).contains("nothing to resume", "q.safetensors.partial");
        assertThat(CommandRun.of(quantize(output, "--method", "liu2021", "--rounds", 0))
                        .err())
                .doesNotContain("resume")
                .contains("few calibration images");
    }

    /** Of several seeds the finished ones stay as they are; the next is made. */
    @Test
    void resumingLeavesFinishedSeedsAlone() throws IOException {
        Path output = temp.resolve("q.safetensors");
        Path second = temp.resolve("q-seed1.safetensors");
        Object[] words = quantize(output, "--method", "liu2021", "--rounds", 0, "--seeds", 2);
        assertThat(CommandRun.of(words).exit()).isZero();
        byte[] before = Files.readAllBytes(second);
        FileTime first = Files.getLastModifiedTime(output);
        Files.delete(second);
        CommandRun run =
                CommandRun.of(quantize(output, "--method", "liu2021", "--rounds", 0, "--seeds", 2, "--resume"));
        assertThat(run.exit()).as(run.err()).isZero();
        assertThat(run.err()).contains(output + " is finished").doesNotContain(second + " is finished");
        assertThat(Files.getLastModifiedTime(output)).isEqualTo(first);
        assertThat(second).hasBinaryContent(before);
        // Another method's file is not what was asked for.
        run = CommandRun.of(quantize(output, "--method", "liu2021", "--rounds", 1, "--resume"));
        assertThat(run.err()).doesNotContain("is finished").contains("nothing to resume");
    }

    /** A Swin goes through everything that a ViT does: plan, mixed precision, inspect, compare, report. */
    @ParameterizedTest
    @ValueSource(strings = {"trivet", "liu2021"})
    void aSwinIsPlannedQuantizedComparedAndReported(String method) throws IOException {
        Path swin = Fixtures.golden("swin_micro_window4");
        String json = CommandRun.of("quantize", swin, "--plan-only", "--bits", 6, "--method", method, "--json")
                .good()
                .out();
        assertThat(json).contains("layers.0.blocks.1.attn.qk", "layers.2.downsample.reduction");
        Path plan = Files.writeString(
                temp.resolve("plan.json"),
                json.replaceAll(
                        "(?<a>\"layers.1.downsample.reduction\",\\s+\"weight_bits\" : )6(?<b>,\\s+\"activation_bits\" : )6",
                        "${a}9${b}10"));
        Path output = temp.resolve("q.safetensors");
        Path report = temp.resolve("q.html");
        CommandRun quantized = CommandRun.of(
                "quantize",
                swin,
                "--calibration",
                images,
                "--images",
                4,
                "--threads",
                2,
                "--method",
                method,
                "--plan",
                plan,
                "-o",
                output,
                "--report",
                report);
        assertThat(quantized.exit()).as(quantized.err()).isZero();
        ModelFile written = ModelFile.read(output, Optional.empty());
        assertThat(written.model().linear("layers.1.downsample.reduction"))
                .isInstanceOfSatisfying(LinearLayer.Quantized.class, q -> {
                    assertThat(q.bits()).isEqualTo(9);
                    assertThat(q.input().bits()).isEqualTo(10);
                });
        JsonNode inspected = CommandRun.of("inspect", output, "--json").good().json();
        assertThat(inspected.path("bytes").asLong()).isEqualTo(Files.size(output));
        Path five = Fixtures.imageFolder(temp.resolve("five"), 5, 2); // the model has five classes
        assertThat(CommandRun.of("compare", swin, output, "--data", five).good().out())
                .contains("worst modules", "layers.");
        assertThat(Files.readString(report))
                .contains(">trivet quantize " + swin + " --calibration ")
                .contains("layers.0.blocks.1.attn", "layers.1.downsample.reduction: weights 9 bits, input 10 bits");
        Path mixed = temp.resolve("mixed.safetensors");
        CommandRun choice = CommandRun.of(
                "quantize",
                swin,
                "--calibration",
                images,
                "--images",
                2,
                "--threads",
                2,
                "--method",
                method,
                "--mixed",
                "--average-bits",
                6,
                "--candidate-bits",
                "5,7",
                "-o",
                mixed);
        assertThat(choice.exit()).as(choice.err()).isZero();
        assertThat(choice.err()).contains("Pareto frontier", "layers.0.blocks.0.attn", "layers.2.blocks.1.mlp");
        assertThat(ModelFile.read(mixed, Optional.empty()).model().linear("layers.2.blocks.0.attn.qkv"))
                .isInstanceOfSatisfying(
                        LinearLayer.Quantized.class, q -> assertThat(q.bits()).isIn(5, 7));
    }

    @Test
    void seedsGiveAFileEachAndTheirSpread() {
        Path output = temp.resolve("q.safetensors");
        CommandRun run = CommandRun.of(quantize(output, "--seeds", 2, "--json", "--method", "liu2021"));
        assertThat(run.exit()).as(run.err()).isZero();
        JsonNode json = run.json();
        assertThat(json.path("seeds")).hasSize(2);
        assertThat(json.path("images").asInt()).isEqualTo(4);
        assertThat(json.path("seeds").get(1).path("images").asInt()).isEqualTo(4);
        double first = json.path("seeds").get(0).path("logit_sqnr_db").asDouble();
        double second = json.path("seeds").get(1).path("logit_sqnr_db").asDouble();
        double mean = (first + second) / 2;
        assertThat(json.path("logit_sqnr_db").path("mean").asDouble()).isEqualTo(mean);
        // Of two values the sample deviation is their distance over the root of two.
        assertThat(json.path("logit_sqnr_db").path("standard_deviation").asDouble())
                .isCloseTo(Math.abs(first - second) / Math.sqrt(2), org.assertj.core.api.Assertions.within(1e-9));
        assertThat(output).exists();
        assertThat(temp.resolve("q-seed1.safetensors")).exists();
    }

    /** Keeps a copy of every state that a run leaves on disk, as a kill at that moment would. */
    private List<Path> statesOf(Runnable run, Path partial) throws InterruptedException {
        List<Path> states = new ArrayList<>();
        AtomicBoolean done = new AtomicBoolean();
        Thread watcher = Thread.ofPlatform().start(() -> {
            long last = -1;
            while (!done.get()) {
                try {
                    long now = Files.getLastModifiedTime(partial).toMillis() * 31 + Files.size(partial);
                    if (now != last) {
                        Path copy = temp.resolve("state" + states.size());
                        Files.copy(partial, copy, StandardCopyOption.REPLACE_EXISTING);
                        states.add(copy);
                        last = now;
                    }
                } catch (NoSuchFileException e) {
                    Thread.onSpinWait();
                } catch (IOException e) {
                    throw new java.io.UncheckedIOException(e);
                }
            }
        });
        run.run();
        done.set(true);
        watcher.join();
        return states;
    }

    @ParameterizedTest
    @ValueSource(strings = {"trivet", "liu2021"})
    void aRunThatWasKilledGivesTheSameBytes(String method) throws Exception {
        Path output = temp.resolve("q.safetensors");
        Path partial = temp.resolve("q.safetensors.partial");
        List<Path> states = statesOf(
                () -> CommandRun.of(quantize(output, "--bits", 5, "--method", method))
                        .good(),
                partial);
        assertThat(states).hasSizeGreaterThan(1);
        assertThat(partial).doesNotExist();
        byte[] unbroken = Files.readAllBytes(output);
        for (Path state : states) {
            Files.delete(output);
            Files.copy(state, partial);
            CommandRun run = CommandRun.of(quantize(output, "--bits", 5, "--method", method, "--resume"));
            assertThat(run.exit()).as(run.err()).isZero();
            assertThat(run.err()).contains("taken up after ");
            assertThat(Files.readAllBytes(output)).isEqualTo(unbroken);
            assertThat(partial).doesNotExist();
        }
        Files.copy(states.getLast(), partial);
        CommandRun.of(quantize(output, "--bits", 5, "--method", method, "--resume", "--seed", 1))
                .refused(partial, "belongs to another run", "--resume");
        CommandRun.of(quantize(output, "--bits", 6, "--method", method, "--resume"))
                .refused(partial, "plan sha256 was ", "--resume");
    }
}
