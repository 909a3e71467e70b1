package dev.trivet;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.EOFException;
import java.io.IOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class BadInputExceptionTest {
    @Test
    void messageNamesFileThenProblemThenRemedy() {
        BadInputException e = new BadInputException(Path.of("a.safetensors"), "is empty", "copy it again");
        assertThat(e).hasMessage("a.safetensors: is empty; copy it again");
    }

    /** Line feed, carriage return, escape, delete, next line, control sequence introducer, line and paragraph separators. */
    @ParameterizedTest
    @ValueSource(
            strings = {
                "\n",
                "\r\n",
                "\u001b",
                "\u007f",
                "\u0085",
                "\u009b",
                "\u2028",
                "\u2029",
                "\u202e",
                "\u2066",
                "\u0000\u0007"
            })
    void controlCharactersBecomeOneSpace(String control) {
        assertThat(new BadInputException("a" + control + "b")).hasMessage("a b");
    }

    @Test
    void lettersOfAnyScriptStay() {
        String text = "Grüße 模型 \uD83D\uDC69\u200D\uD83D\uDD2C e\u0301";
        assertThat(new BadInputException(text)).hasMessage(text);
    }

    @Test
    void reasonsOfInputOutputErrorsAreWords() {
        assertThat(BadInputException.reason(new IOException("No space left on device")))
                .isEqualTo("No space left on device");
        assertThat(BadInputException.reason(new EOFException())).isEqualTo("EOFException");
        assertThat(BadInputException.reason(new AccessDeniedException("/x"))).isEqualTo("permission denied");
        assertThat(BadInputException.reason(new NoSuchFileException("/x"))).isEqualTo("/x does not exist");
        assertThat(BadInputException.reason(new FileAlreadyExistsException("/x")))
                .isEqualTo("/x is in the way");
        assertThat(BadInputException.reason(new FileSystemException("/x", null, "Too many levels of symbolic links")))
                .isEqualTo("/x: Too many levels of symbolic links");
    }
}
