package dev.trivet.cli.bench;

import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicReference;

/**
 * Where a run spends its time, by kind of operator, found by looking at a running thread's stack every millisecond. A clock inside the
 * engine would be in the way of every user, and one wrapped around its kernels would measure another engine wherever products and what
 * stands between them are fused; a fused product counts as the product that it is called from. The JVM shows a stack where compiled code
 * polls for it, at the latest at the end of a loop, so a share is good to a few percent of the whole and not better.
 */
public final class OperatorTimes {
    private static final long INTERVAL_MILLIS = 1;

    /** Kinds of operators, in the order in which a frame is tried. */
    public enum Kind {
        LAYER_NORM("layernorm"),
        GELU("gelu"),
        SOFTMAX("softmax"),
        ATTENTION_PRODUCTS("matmul"),
        LINEAR_PRODUCTS("linear", "referencekernels$"), // the reference's linears are classes without a name
        OTHER();

        @SuppressWarnings("ImmutableEnumChecker") // as List.of makes it
        private final List<String> marks;

        Kind(String... marks) {
            this.marks = List.of(marks);
        }

        /** Such as {@code linear_products}. */
        public String text() {
            return name().toLowerCase(Locale.ROOT);
        }

        /** By the method's name, else by its class's; empty for what says nothing. */
        private static Optional<Kind> of(StackTraceElement frame) {
            if (!frame.getClassName().startsWith("dev.trivet.kernel.")
                    && !frame.getClassName().startsWith("dev.trivet.runtime.")) {
                return Optional.empty();
            }
            String method = frame.getMethodName().toLowerCase(Locale.ROOT);
            String type = frame.getClassName().toLowerCase(Locale.ROOT);
            for (String where : new String[] {method, type.substring(type.lastIndexOf('.') + 1)}) {
                for (Kind kind : values()) {
                    for (String mark : kind.marks) {
                        if (where.contains(mark)) {
                            return Optional.of(kind);
                        }
                    }
                }
            }
            return Optional.empty();
        }
    }

    private OperatorTimes() {}

    /** Shares of all looks by {@link Kind#text}, adding up to 1, while {@code caller} runs over and over for a while. */
    public static Map<String, Double> sample(Contender.Caller caller, double seconds) throws InterruptedException {
        AtomicReference<Throwable> failure = new AtomicReference<>();
        Thread running = Thread.ofPlatform().daemon().start(() -> {
            try {
                while (!Thread.currentThread().isInterrupted()) {
                    caller.run();
                }
            } catch (RuntimeException | Error e) {
                failure.set(e);
            }
        });
        Map<Kind, Integer> seen = new EnumMap<>(Kind.class);
        int looks = 0;
        long end = System.nanoTime() + (long) (1e9 * seconds);
        try {
            while (running.isAlive() && (System.nanoTime() < end || looks == 0)) {
                Thread.sleep(INTERVAL_MILLIS);
                StackTraceElement[] stack = running.getStackTrace();
                if (stack.length > 0) {
                    seen.merge(kind(stack), 1, Integer::sum);
                    looks++;
                }
            }
        } finally {
            running.interrupt();
            running.join();
        }
        if (failure.get() != null) {
            throw new IllegalStateException("the model failed while it was watched", failure.get());
        }
        Map<String, Double> shares = new LinkedHashMap<>();
        for (Map.Entry<Kind, Integer> entry : seen.entrySet()) {
            shares.put(entry.getKey().text(), (double) entry.getValue() / looks);
        }
        return shares;
    }

    /** Of the innermost frame that says one. */
    static Kind kind(StackTraceElement[] stack) {
        for (StackTraceElement frame : stack) {
            Optional<Kind> kind = Kind.of(frame);
            if (kind.isPresent()) {
                return kind.get();
            }
        }
        return Kind.OTHER;
    }
}
