package dev.trivet.cli;

import java.io.FilterWriter;
import java.io.IOException;
import java.io.Writer;

/**
 * Text for a terminal: labels, names and notes come from strangers' files, and none of their control codes or marks that turn
 * the writing direction may reach it. Line ends and tabs pass.
 */
final class PlainText extends FilterWriter {
    PlainText(Writer out) {
        super(out);
    }

    @Override
    public void write(int c) throws IOException {
        super.write(isHarmless(c) ? c : ' ');
    }

    @Override
    public void write(char[] text, int offset, int length) throws IOException {
        write(new String(text, offset, length), 0, length);
    }

    @Override
    public void write(String text, int offset, int length) throws IOException {
        StringBuilder plain = new StringBuilder(length);
        text.substring(offset, offset + length).chars().forEach(c -> plain.append(isHarmless(c) ? (char) c : ' '));
        super.write(plain.toString(), 0, length);
    }

    private static boolean isHarmless(int c) {
        boolean turns = (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
        return c == '\n' || c == '\r' || c == '\t' || (!Character.isISOControl(c) && !turns);
    }
}
