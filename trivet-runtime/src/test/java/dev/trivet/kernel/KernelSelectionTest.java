package dev.trivet.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class KernelSelectionTest {
    /** Prints what a fresh process chooses, asked twice. */
    static final class Ask {
        private Ask() {}

        public static void main(String[] args) {
            for (int i = 0; i < 2; i++) {
                try {
                    System.out.println("chosen: " + KernelSelection.get().sentence());
                } catch (BadInputException e) {
                    System.out.println("refused: " + e.getMessage());
                }
            }
        }
    }

    private static final String DENIED = "--illegal-native-access=deny";

    /** The lines that a JVM with these flags prints. */
    private static List<String> ask(String... flags) throws IOException, InterruptedException {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.addAll(List.of("-Xlog:disable", "-Xlog:all=warning:stderr"));
        command.addAll(List.of(flags));
        if (!command.contains(DENIED)) {
            command.add("--enable-native-access=ALL-UNNAMED");
        }
        command.addAll(List.of("-cp", System.getProperty("java.class.path"), Ask.class.getName()));
        Process process = new ProcessBuilder(command)
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor()).isZero();
        return output.lines().toList();
    }

    @ParameterizedTest
    @ValueSource(strings = {"reference", "Reference", "vector"})
    void aNamedProviderIsTaken(String name) {
        KernelSelection selection = KernelSelection.choose(name);
        assertThat(selection.kernels().name()).isEqualToIgnoringCase(name);
        assertThat(selection.refused()).isEmpty();
        assertThat(selection.sentence()).isEqualTo(selection.kernels().description());
    }

    @ParameterizedTest
    @ValueSource(strings = {"cuda", "", "one dnn"})
    void unknownNamesAreRefused(String name) {
        assertThatThrownBy(() -> KernelSelection.choose(name))
                .isInstanceOf(BadInputException.class)
                .hasMessage("-Dtrivet.kernels=" + name + ": no such kernels; choose reference, vector or onednn");
    }

    @Test
    void thePropertyForcesAProvider() throws Exception {
        assertThat(ask("-Dtrivet.kernels=reference"))
                .containsExactly("chosen: reference (scalar Java)", "chosen: reference (scalar Java)");
    }

    /** Without the incubator module neither the Vector API nor what is built on it can load. */
    @Test
    void withoutTheVectorModuleTheReferenceRunsAndSaysWhy() throws Exception {
        List<String> lines = ask("-Dtrivet.kernels=auto");
        assertThat(lines).hasSize(2);
        assertThat(lines.getFirst())
                .startsWith("chosen: reference (scalar Java); onednn refused: ")
                .contains("vector refused: the JVM was started without --add-modules jdk.incubator.vector");
        assertThat(lines.getLast()).isEqualTo(lines.getFirst());
    }

    /** As later JDKs will by default. */
    @Test
    void withoutNativeAccessTheReferenceRunsAndSaysWhy() throws Exception {
        assertThat(ask(DENIED, "--add-modules=jdk.incubator.vector", "-Dtrivet.kernels=auto")
                        .getFirst())
                .startsWith("chosen: reference (scalar Java); onednn refused: the JVM denies native access")
                .contains("vector refused: the JVM denies native access", "--enable-native-access=ALL-UNNAMED");
    }

    @Test
    void aForcedChoiceThatCannotLoadIsAnErrorEachTime() throws Exception {
        List<String> lines = ask("-Dtrivet.kernels=vector");
        assertThat(lines).hasSize(2);
        assertThat(lines.getFirst())
                .startsWith("refused: -Dtrivet.kernels=vector: vector refused: the JVM was started without")
                .endsWith("leave the property out");
        assertThat(lines.getLast()).isEqualTo(lines.getFirst());
    }
}
