package dev.trivet;

import java.io.IOException;
import java.nio.charset.CharacterCodingException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;

/**
 * Something the user gave (a file, a folder, an option) cannot be used. The message is one line that names it, says what
 * is wrong and what to do; the command line prints it as it is and exits with 2.
 */
public class BadInputException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /** @param message what is wrong and what the user can do about it; control characters become spaces */
    public BadInputException(String message) {
        super(oneLine(message));
    }

    /**
     * @param message what is wrong and what the user can do about it; control characters become spaces
     * @param cause what went wrong underneath
     */
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

    /**
     * @param file what could not be used
     * @param problem what is wrong with it
     * @param remedy what the user can do about it
     * @param cause what went wrong underneath
     */
    public BadInputException(Path file, String problem, String remedy, Throwable cause) {
        this(file + ": " + problem + "; " + remedy, cause);
    }

    /** What an input or output error says went wrong, in words; many of the platform's own messages are a bare path. */
    public static String reason(IOException e) {
        return switch (e) {
            case AccessDeniedException _ -> "permission denied";
            case NoSuchFileException missing -> missing.getFile() + " does not exist";
            case FileAlreadyExistsException taken -> taken.getFile() + " is in the way";
            case CharacterCodingException _ -> "is not UTF-8 text";
            default -> e.getMessage() == null ? e.getClass().getSimpleName() : e.getMessage();
        };
    }

    /**
     * Text from a stranger's file may hold line breaks, terminal codes or marks that turn the writing direction: none may
     * reach the terminal.
     */
    private static String oneLine(String message) {
        return message.replaceAll("[\\p{Cc}\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069]+", " ");
    }
}
