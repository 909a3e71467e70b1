package dev.trivet;

import java.nio.file.Path;

/**
 * Something the user gave (a file, a folder, an option) cannot be used. The message is one line that names it, says what
 * is wrong and what to do; the command line prints it as it is and exits with 2.
 */
public class BadInputException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    public BadInputException(String message) {
        super(oneLine(message));
    }

    public BadInputException(String message, Throwable cause) {
        super(oneLine(message), cause);
    }

    /**
     * @param file what could not be used
     * @param problem what is wrong with it
     * @param remedy what the user can do about it
     */
    public BadInputException(Path file, String problem, String remedy) {
        this(file + ": " + problem + "; " + remedy);
    }

    public BadInputException(Path file, String problem, String remedy, Throwable cause) {
        this(file + ": " + problem + "; " + remedy, cause);
    }

    /** Text from a stranger's file may hold line breaks or terminal codes: neither may reach the terminal. */
    private static String oneLine(String message) {
        return message.replaceAll("\\p{Cntrl}+", " ");
    }
}
