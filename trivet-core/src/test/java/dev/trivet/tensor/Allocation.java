package dev.trivet.tensor;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;

/** How much heap code took. */
final class Allocation {
    private Allocation() {}

    /** Bytes that the current thread has allocated so far. */
    static long ofThisThread() {
        return ((ThreadMXBean) ManagementFactory.getThreadMXBean()).getCurrentThreadAllocatedBytes();
    }
}
