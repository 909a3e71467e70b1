package dev.trivet.cli.bench;

import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.OptionalLong;

/** What the system says about this process. */
public final class ProcessFigures {
    /** Ticks of a second in /proc, on every Linux of today. */
    private static final double TICKS = 100;

    /** The 22nd field of /proc/self/stat, counted from behind the command's name, which may hold spaces. */
    private static final int START_FIELD = 19;

    private ProcessFigures() {}

    /** Seconds since the process was started, good to 10 ms; where there is no /proc, since the JVM took its first note of the time. */
    public static double age() {
        try {
            String stat = Files.readString(Path.of("/proc/self/stat"));
            String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
            String up = Files.readString(Path.of("/proc/uptime"));
            double age =
                    Double.parseDouble(up.substring(0, up.indexOf(' '))) - Long.parseLong(fields[START_FIELD]) / TICKS;
            // Some containers have an uptime of their own.
            return age > 0 ? age : uptime();
        } catch (IOException | RuntimeException _) {
            return uptime();
        }
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
