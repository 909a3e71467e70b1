package dev.trivet.cli.bench;

import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.OptionalLong;

/** What the system says about this process. */
public final class ProcessFigures {
    /** Ticks of a second in /proc, on every Linux of today. */
    private static final double TICKS = 100;

    /** The 22nd field of /proc/self/stat, counted from behind the command's name, which may hold spaces. */
    private static final int START_FIELD = 19;

    private ProcessFigures() {}

    /** Where the launcher says when it had built itself, as /proc/uptime: the JVM takes its process over. */
    private static final String BUILT_AT = "TRIVET_BUILT_AT";

    /**
     * Seconds since the process was started, or since the launcher had built itself in it, good to 10 ms; where there is no /proc, since the JVM
     * took its first note of the time.
     */
    public static double age() {
        try {
            String stat = Files.readString(Path.of("/proc/self/stat"));
            String up = Files.readString(Path.of("/proc/uptime"));
            double age = age(stat, up, Optional.ofNullable(System.getenv(BUILT_AT)));
            // Some containers have an uptime of their own.
            return age > 0 ? age : uptime();
        } catch (IOException | RuntimeException _) {
            return uptime();
        }
    }

    /** @throws RuntimeException if a figure is not one */
    static double age(String stat, String up, Optional<String> builtAt) {
        String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ", -1);
        double started = Long.parseLong(fields[START_FIELD]) / TICKS;
        // Whoever was started by such a process sees its value, too, and has a later start of its own.
        double since = Math.max(started, builtAt.map(Double::parseDouble).orElse(0.0));
        return Double.parseDouble(up.substring(0, up.indexOf(' '))) - since;
    }

    private static double uptime() {
        return ManagementFactory.getRuntimeMXBean().getUptime() / 1e3;
    }

    /** Bytes of memory that the process has taken now, mapped files included; empty where there is no /proc. */
    public static OptionalLong residentBytes() {
        return status("VmRSS:");
    }

    /** The most that {@link #residentBytes} has been. */
    public static OptionalLong peakResidentBytes() {
        return status("VmHWM:");
    }

    private static OptionalLong status(String field) {
        try {
            for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
                if (line.startsWith(field)) {
                    return OptionalLong.of(1024 * Long.parseLong(line.replaceAll("\\D", "")));
                }
            }
        } catch (IOException | RuntimeException _) {
            // No such system: there is no figure.
        }
        return OptionalLong.empty();
    }
}
