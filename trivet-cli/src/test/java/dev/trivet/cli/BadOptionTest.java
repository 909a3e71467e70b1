package dev.trivet.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Options and arguments that cannot be used. */
class BadOptionTest {
    private static final Path MODEL = Fixtures.golden(Fixtures.VIT);

    @TempDir
    Path temp;

    @ParameterizedTest
    @CsvSource({
        "--bits,11,correct --bits",
        "--bits,1,correct --bits",
        "--edge-bits,33,--edge-bits",
        "--weight-bits,binary,neither a number of bits nor ternary",
        "--activation-bits,ternary,--help",
        "--average-bits,6,add --mixed",
        "--sensitivity,logits,add --mixed",
        "--classes,order.txt,leave it out",
        "--method,gptq,--help",
        "--seeds,0,correct it",
        "--images,0,give at least 1",
        "--threads,0,leave it out",
        "--candidates,9,is for --method liu2021",
        "--rounds,3,is for --method liu2021",
        "--images,many,--help",
        "--weights-per,row,--help",
        "--frobnicate,1,--help",
    })
    void quantizeNamesTheOption(String option, String value, String mend) {
        Fixtures.imageFolder(temp.resolve("images"), 2, 1);
        Path output = temp.resolve("q.safetensors");
        CommandRun.of("quantize", MODEL, "--calibration", temp.resolve("images"), "-o", output, option, value)
                .refused(option, mend);
        assertThat(output).doesNotExist();
    }

    @ParameterizedTest
    @CsvSource({"--candidates,0", "--rounds,21"})
    void thePapersMethodChecksItsNumbers(String option, String value) {
        Path images = Fixtures.imageFolder(temp.resolve("images"), 2, 1);
        Path output = temp.resolve("q.safetensors");
        CommandRun.of("quantize", MODEL, "--calibration", images, "-o", output, "--method", "liu2021", option, value)
                .refused("candidates 2 to 1000, rounds 0 to 20", "correct " + "--candidates");
        assertThat(output).doesNotExist();
    }

    @Test
    void switchesOfTheOtherMethodAreRefused() {
        CommandRun.of("quantize", MODEL, "--plan-only", "--no-ranking").refused("--no-ranking", "liu2021");
        CommandRun.of("quantize", MODEL, "--plan-only", "--method", "liu2021", "--no-levels")
                .refused("--no-levels", "--method trivet");
    }

    @ParameterizedTest
    @ValueSource(strings = {"eval", "compare", "classify", "inspect", "check", "quantize"})
    void everyCommandNamesItsMissingArguments(String command) {
        CommandRun.of(command).refused("Missing required", "'trivet " + command + " --help'");
    }

    @ParameterizedTest
    @ValueSource(strings = {"classify", "eval"})
    void noThreadsAreRefused(String command) {
        Path image = Fixtures.image(temp.resolve("a.png"), 1);
        Object[] arguments = switch (command) {
            case "classify" -> new Object[] {command, MODEL, image, "--threads", 0};
            default ->
                new Object[] {
                    command, MODEL, "--data", Fixtures.imageFolder(temp.resolve("data"), 10, 1), "--threads", 0
                };
        };
        CommandRun.of(arguments).refused("--threads 0", "leave it out");
    }

    /** What would change nothing is not taken. */
    @ParameterizedTest
    @CsvSource({"pull,--threads", "inspect,--threads", "quantize,--packed-weights", "demo,--packed-weights"})
    void optionsThatMeanNothingToACommandAreUnknown(String command, String option) {
        CommandRun.of(command, option, "2").refused("Unknown option", option, "'trivet " + command + " --help'");
    }

    /** Before model and data are opened, of which there are none here. */
    @ParameterizedTest
    @CsvSource({
        "float,10,64,--compare-steps needs a recipe that quantizes,add --recipe",
        "float,0,64,--compare-steps 0,give at least 1",
        "ternary,0,64,--compare-steps 0,give at least 1",
        "ternary,-3,64,--compare-steps -3,give at least 1",
        "ternary,10,0,batch size 0 is out of range,correct the option",
        "ternary,,0,batch size 0 is out of range,correct the option",
        "float,,0,batch size 0 is out of range,correct the option",
    })
    void trainNamesTheOption(String recipe, @Nullable String compareSteps, String batch, String problem, String mend) {
        Path absent = temp.resolve("absent");
        Path output = temp.resolve("out");
        List<Object> words = new ArrayList<>(
                List.of("train", absent, "--data", absent, "-o", output, "--recipe", recipe, "--batch", batch));
        if (compareSteps != null) {
            words.add("--compare-steps=" + compareSteps);
        }
        CommandRun.of(words.toArray()).refused(problem, mend);
        assertThat(output).doesNotExist();
    }

    @Test
    void trainStartsWithATernaryFileInRecipeTernaryOnly() {
        Path absent = temp.resolve("absent");
        Path output = temp.resolve("out");
        CommandRun.of("train", absent, "--data", absent, "-o", output, "--recipe", "tervit", "--start", absent)
                .refused("--start is for --recipe ternary", "leave it out");
        CommandRun.of("train", absent, "--data", absent, "-o", output, "--recipe", "float", "--classes", absent)
                .refused("--classes is for recipes that keep", "leave it out");
        assertThat(output).doesNotExist();
    }

    @ParameterizedTest
    @CsvSource({
        "w8a8,--distill-weight,0.9,is for --distill hard or soft",
        "ternary,--temperature,2,is for --distill hard or soft",
        "ternary,--eight-bit-epochs,1,is for --recipe tervit",
        "w8a8,--ternary-clip,2,is for --recipe tervit or ternary",
        "finetune,--ternary-granularity,layer,is for --recipe tervit or ternary",
    })
    void trainRefusesWhatItsRecipeWouldNotLookAt(String recipe, String option, String value, String why) {
        Path absent = temp.resolve("absent");
        Path output = temp.resolve("out");
        CommandRun.of("train", absent, "--data", absent, "-o", output, "--recipe", recipe, option, value)
                .refused(option, why, "leave it out");
        assertThat(output).doesNotExist();
    }

    @ParameterizedTest
    @ValueSource(strings = {"--bits", "--weight-bits", "--activation-bits", "--edge-bits"})
    void widthsBesideAPlanAreRefused(String option) {
        Path plan = temp.resolve("plan.json");
        CommandRun.of("quantize", MODEL, "--plan", plan, "--plan-only", option, 4)
                .refused("--plan says the bits of every operator", option);
    }

    /** The JVM has one error for three things. */
    @ParameterizedTest
    @CsvSource({
        "Java heap space,-Xmx",
        "Requested array size exceeds VM limit,-Xmx",
        "unable to create native thread: possibly out of memory or process/resource limits reached,ulimit",
        "Cannot reserve 96 bytes of direct buffer memory (allocated: 1; limit: 2),MaxDirectMemorySize",
        "Unable to allocate 8589934592 bytes,outside of Java's heap (Unable to allocate 8589934592 bytes)",
    })
    void saysWhatRanOut(String message, String advice) {
        assertThat(TrivetCommand.exhausted(message)).contains(advice).doesNotContain("\n");
    }

    @Test
    void namesAnUnknownCommand() {
        CommandRun.of("evall").refused("no command evall", "did you mean eval?", "'trivet --help'");
        CommandRun.of("clasify", "model", "image.jpg").refused("no command clasify", "did you mean classify");
        CommandRun.of("--no-such-option").refused("--no-such-option");
    }

    @Test
    void withoutArgumentsShowsTheUsage() {
        CommandRun run = CommandRun.of();
        assertThat(run.exit()).isEqualTo(2);
        assertThat(run.err()).contains("Usage: trivet", "quantize", "eval");
    }

    @Test
    void saysEvenAnArgumentWithLineBreaksInOneLine() {
        String line = CommandRun.of("inspect", MODEL, "--a\nb\u001b[2J").refused("--a b");
        assertThat(line).doesNotContain("\u001b");
    }

    @Test
    void readsNoArgumentsFromFiles() throws IOException {
        Path list = Files.writeString(temp.resolve("list"), "--help");
        CommandRun.of("inspect", "@" + list).refused("@" + list, "no such model");
    }

    @Test
    void classifyWantsAtLeastOneLabel() {
        CommandRun.of("classify", MODEL, Fixtures.image(temp.resolve("a.png"), 1), "--top", 0)
                .refused("--top 0", "at least 1");
    }

    @ParameterizedTest
    @ValueSource(strings = {"-1", "NaN"})
    void checkWantsATolerance(String tolerance) {
        CommandRun.of("check", MODEL, "--golden", MODEL.resolve("golden.safetensors"), "--rtol", tolerance)
                .refused("--rtol");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "{}|0|has no tensor input|give a recorded run",
                "{'input':{'dtype':'F32','shape':[1,3,64,64],'data_offsets':[0,49152]}}|49152|has no tensor logits|give a recorded run",
                "{'input':{'dtype':'F32','shape':[1,3,32,32],'data_offsets':[0,12288]},'logits':{'dtype':'F32','shape':[1,10],'data_offsets':[12288,12328]}}|12328|[n, 3, 64, 64]|record the run with this model",
                "{'input':{'dtype':'F32','shape':[1,3,64,64],'data_offsets':[0,49152]},'logits':{'dtype':'F32','shape':[1,7],'data_offsets':[49152,49180]}}|49180|[1, 7]|record the run with this model",
                "{'input':{'dtype':'F32','shape':[0,3,64,64],'data_offsets':[0,0]},'logits':{'dtype':'F32','shape':[0,10],'data_offsets':[0,0]}}|0|no images|record the run with this model",
            })
    void checkNamesABadRecording(String header, int bytes, String problem, String mend) throws IOException {
        Path golden = Fixtures.safetensors(temp.resolve("golden.safetensors"), header.replace('\'', '"'), bytes);
        CommandRun.of("check", MODEL, "--golden", golden).refused(golden, problem, mend);
    }
}
