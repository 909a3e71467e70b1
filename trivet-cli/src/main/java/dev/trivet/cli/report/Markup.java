package dev.trivet.cli.report;

import java.util.ArrayDeque;
import java.util.Deque;

/**
 * Builds HTML that is also well-formed XML. Names and labels come from strangers' files, so all text and all attribute values
 * are escaped, control codes and marks that turn the writing direction among them; there is no way in for raw text but {@link #style}.
 */
final class Markup {
    private final StringBuilder out = new StringBuilder("<!DOCTYPE html>\n");
    private final Deque<String> open = new ArrayDeque<>();

    /** @param attributes names and values in turn */
    Markup open(String tag, String... attributes) {
        start(tag, attributes);
        out.append('>');
        open.push(tag);
        return this;
    }

    /** Ends the element opened last. */
    Markup close() {
        out.append("</").append(open.pop()).append('>');
        if (open.size() < 4) {
            out.append('\n');
        }
        return this;
    }

    /** An element that holds nothing but text. */
    Markup leaf(String tag, String text, String... attributes) {
        return open(tag, attributes).text(text).close();
    }

    /** An element without contents, such as {@code img}. */
    Markup empty(String tag, String... attributes) {
        start(tag, attributes);
        out.append(" />");
        return this;
    }

    Markup text(String text) {
        escape(text);
        return this;
    }

    /** Our own style sheet. */
    Markup style(String css) {
        if (css.contains("<") || css.contains("&")) {
            throw new IllegalArgumentException("the style sheet would have to be escaped");
        }
        out.append("<style>").append(css).append("</style>\n");
        return this;
    }

    private void start(String tag, String... attributes) {
        out.append('<').append(tag);
        for (int i = 0; i < attributes.length; i += 2) {
            out.append(' ').append(attributes[i]).append("=\"");
            escape(attributes[i + 1]);
            out.append('"');
        }
    }

    private void escape(String text) {
        text.codePoints().forEach(c -> {
            switch (c) {
                case '<' -> out.append("&lt;");
                case '>' -> out.append("&gt;");
                case '&' -> out.append("&amp;");
                case '"' -> out.append("&quot;");
                case '\'' -> out.append("&#39;");
                default -> out.appendCodePoint(isHarmless(c) ? c : ' ');
            }
        });
    }

    private static boolean isHarmless(int c) {
        boolean turns = (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
        boolean none = (c >= 0xd800 && c <= 0xdfff) || (c & 0xfffe) == 0xfffe;
        return c == '\n' || (!Character.isISOControl(c) && !turns && !none);
    }

    /** The page. */
    String page() {
        if (!open.isEmpty()) {
            throw new IllegalStateException("still open: " + open);
        }
        return out.toString();
    }
}
