package dev.trivet.kernel;

import dev.trivet.BadInputException;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.Supplier;

/**
 * Which kernels run, decided once per process: oneDNN if it loads (whose byte products are used so that they cannot saturate),
 * else the Vector API, else the scalar reference. {@code -Dtrivet.kernels=reference|vector|onednn} forces one; a forced choice that cannot load is an
 * error, never a silent fallback.
 *
 * @param kernels the chosen provider
 * @param refused why each better one was passed over, in words
 */
public record KernelSelection(Kernels kernels, List<String> refused) {
    /** The system property that forces a provider. */
    public static final String PROPERTY = "trivet.kernels";

    /**
     * Loads once, on first use, without a lock that class loading could deadlock on. A refusal is kept like a choice: thrown
     * from here it would reach the first caller only, and the others would hear that this class cannot be initialized.
     */
    private static final class Holder {
        static final Supplier<KernelSelection> CHOSEN = outcome();

        private static Supplier<KernelSelection> outcome() {
            try {
                KernelSelection chosen = choose(System.getProperty(PROPERTY, "auto"));
                return () -> chosen;
            } catch (BadInputException refusal) {
                String message = String.valueOf(refusal.getMessage());
                return () -> {
                    throw new BadInputException(message, refusal);
                };
            }
        }
    }

    /** Copies the list. */
    public KernelSelection {
        refused = List.copyOf(refused);
    }

    /**
     * The process-wide choice.
     *
     * @throws BadInputException if a forced provider is unknown or cannot load
     */
    public static KernelSelection get() {
        return Holder.CHOSEN.get();
    }

    /** Begins to load on another thread, so that a model can be read meanwhile; {@link #get} waits for it and says what came of it. */
    public static void prepare() {
        Thread.ofPlatform().daemon().name("trivet-kernels").start(() -> {
            try {
                get();
            } catch (BadInputException _) {
                // Whoever asks for the kernels hears of it.
            }
        });
    }

    /** One line: what was chosen, and why the others were not. */
    public String sentence() {
        return kernels.description() + (refused.isEmpty() ? "" : "; " + String.join("; ", refused));
    }

    static KernelSelection choose(String wanted) {
        String name = wanted.toLowerCase(Locale.ROOT);
        List<String> refused = new ArrayList<>();
        List<String> names = name.equals("auto") ? List.of("onednn", "vector", "reference") : List.of(name);
        for (String candidate : names) {
            try {
                return new KernelSelection(load(candidate), refused);
            } catch (UnsatisfiedLinkError
                    | UnsupportedOperationException
                    | NoClassDefFoundError
                    | IllegalStateException e) { // the last is what a failing oneDNN call throws
                refused.add(candidate + " refused: " + e.getMessage());
            }
        }
        throw new BadInputException(
                "-D" + PROPERTY + "=" + wanted + ": " + String.join("; ", refused) + "; leave the property out");
    }

    private static Kernels load(String name) {
        return switch (name) {
            case "onednn" -> {
                requireVectorModule();
                requireNativeAccess();
                yield new OnednnKernels();
            }
            case "vector" -> {
                requireVectorModule();
                requireNativeAccess();
                yield new VectorKernels();
            }
            case "reference" -> new ReferenceKernels();
            default ->
                throw new BadInputException(
                        "-D" + PROPERTY + "=" + name + ": no such kernels; choose reference, vector or onednn");
        };
    }

    /** Both go over memory by address ({@link NativeMemory}). */
    @SuppressWarnings("restricted")
    private static void requireNativeAccess() {
        try {
            var _ = MemorySegment.NULL.reinterpret(1);
        } catch (IllegalCallerException e) {
            throw new UnsupportedOperationException(
                    "the JVM denies native access and was started without --enable-native-access=ALL-UNNAMED", e);
        }
    }

    /** Neither the Vector API nor what is built on it can load otherwise, and the first class to fail hides the reason. */
    private static void requireVectorModule() {
        if (ModuleLayer.boot().findModule("jdk.incubator.vector").isEmpty()) {
            throw new UnsupportedOperationException("the JVM was started without --add-modules jdk.incubator.vector");
        }
    }
}
