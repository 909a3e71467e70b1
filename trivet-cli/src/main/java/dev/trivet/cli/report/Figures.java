package dev.trivet.cli.report;

import java.util.Locale;

/** Numbers as the page writes them, the same in every locale. */
final class Figures {
    private Figures() {}

    static String fixed(double value, int digits) {
        return Double.isFinite(value) ? String.format(Locale.ROOT, "%." + digits + "f", value) : "not a number";
    }

    static String megabytes(long bytes) {
        return fixed(bytes / 1e6, 2) + " MB";
    }

    static String percent(double share) {
        return fixed(100 * share, 2) + " %";
    }

    static String decibels(double db) {
        return db == Double.POSITIVE_INFINITY ? "equal" : Double.isNaN(db) ? "not a number" : fixed(db, 1) + " dB";
    }

    /** Whole numbers whole, others with four significant digits. */
    static String number(double value) {
        if (!Double.isFinite(value)) {
            return "not a number";
        }
        double magnitude = Math.abs(value);
        if (magnitude < 1e6 && magnitude == Math.rint(magnitude)) {
            return fixed(value, 0);
        }
        return magnitude < 1e-3 || magnitude >= 1e6
                ? String.format(Locale.ROOT, "%.2e", value)
                : fixed(value, Math.max(0, 3 - (int) Math.floor(Math.log10(magnitude))));
    }

    /** A coordinate in a drawing. */
    static String at(double value) {
        double tenths = Math.rint(10 * value);
        return tenths % 10 == 0 ? String.valueOf((long) (tenths / 10)) : String.valueOf(tenths / 10);
    }

    static String bits(int bits) {
        return bits == Float.SIZE ? "float" : bits + " bit";
    }
}
