package dev.trivet.train;

import dev.trivet.BadInputException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.FloatBuffer;
import java.nio.LongBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import org.bytedeco.javacpp.Loader;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * Loads PyTorch's native library, for training that runs several single-threaded replicas.
 *
 * <p>The library would rather split each operation over its OpenMP threads. For models this small the threads then wait for
 * each other hundreds of times a step, by spinning, and OpenBLAS has threads of its own that spin as well; with another
 * program on the same cores a step took several times as long. So both are held to one thread, by the environment, which
 * they read when they are loaded. What the user has set there is kept.
 */
final class Torch {
    private static final Map<String, String> SINGLE_THREADED =
            Map.of("OMP_NUM_THREADS", "1", "OMP_WAIT_POLICY", "PASSIVE", "OPENBLAS_NUM_THREADS", "1");

    /** What OpenBLAS asks of a processor for its kernels of that name. */
    private static final Set<String> AVX512 = Set.of("avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl");

    private Torch() {}

    /**
     * Loads the library on the first call.
     *
     * @throws BadInputException if it is not there for this platform
     */
    static void load() {
        try {
            Loaded.load();
        } catch (LinkageError e) {
            throw new BadInputException(
                    "PyTorch's native library for " + Loader.getPlatform() + " is missing (" + reason(e)
                            + "); build without -Dtrivet.nopytorch, or put the jars of org.bytedeco:pytorch, javacpp and"
                            + " openblas for this platform on the class path",
                    e);
        }
    }

    /** The memory of a contiguous float32 tensor; valid while the tensor is. */
    static FloatBuffer floats(Tensor tensor) {
        return tensor.data_ptr_float().capacity(tensor.numel()).asBuffer();
    }

    /** A tensor of int64, {@code [values.length]}. */
    static Tensor longs(int[] values) {
        try (Tensor floats = torch.zeros(values.length)) {
            Tensor longs = floats.to(ScalarType.Long);
            LongBuffer memory = longs.data_ptr_long().capacity(values.length).asBuffer();
            for (int i = 0; i < values.length; i++) {
                memory.put(i, values[i]);
            }
            return longs;
        }
    }

    private static @Nullable String reason(LinkageError e) {
        Throwable cause = e.getCause();
        return cause == null ? e.getMessage() : cause.getMessage();
    }

    private static final class Loaded {
        static {
            setEnvironment();
            torch.set_num_threads(1);
        }

        static void load() {
            // The static initialiser does the work, once.
        }
    }

    /** What Linux says about the processor; empty elsewhere. */
    private static String cpuInfo() {
        try {
            return Files.readString(Path.of("/proc/cpuinfo"));
        } catch (IOException e) {
            return "";
        }
    }

    /**
     * The kernels that OpenBLAS should take where it would choose badly by itself: 0.3.31 does not know AMD's family 26 (Zen 5; OpenBLAS
     * issue 6029) and takes AVX2 kernels there, which cost 1.4 times the time of a training step.
     *
     * @param cpuInfo {@code /proc/cpuinfo}
     */
    static Optional<String> coreType(String cpuInfo) {
        Map<String, String> fields = new HashMap<>();
        for (String line : cpuInfo.lines().takeWhile(line -> !line.isBlank()).toList()) {
            int colon = line.indexOf(':');
            if (colon > 0) {
                fields.put(
                        line.substring(0, colon).strip(),
                        line.substring(colon + 1).strip());
            }
        }
        Set<String> flags =
                new HashSet<>(List.of(fields.getOrDefault("flags", "").split(" ", -1)));
        boolean unknown = fields.getOrDefault("vendor_id", "").equals("AuthenticAMD")
                && fields.getOrDefault("cpu family", "").equals("26");
        return unknown && flags.containsAll(AVX512) ? Optional.of("SKYLAKEX") : Optional.empty();
    }

    @SuppressWarnings("restricted") // the function is the C library's, called as it is declared
    private static void setEnvironment() {
        Linker linker = Linker.nativeLinker();
        SymbolLookup lookup = linker.defaultLookup();
        MemorySegment address = lookup.find("setenv").orElse(MemorySegment.NULL);
        if (address.equals(MemorySegment.NULL)) {
            return; // Windows, which uses another OpenMP
        }
        MethodHandle setenv = linker.downcallHandle(
                address,
                FunctionDescriptor.of(
                        ValueLayout.JAVA_INT, ValueLayout.ADDRESS, ValueLayout.ADDRESS, ValueLayout.JAVA_INT));
        try (Arena arena = Arena.ofConfined()) {
            Map<String, String> variables = new TreeMap<>(SINGLE_THREADED);
            coreType(cpuInfo()).ifPresent(type -> variables.put("OPENBLAS_CORETYPE", type));
            for (Map.Entry<String, String> variable : variables.entrySet()) {
                int ignored = (int) setenv.invokeExact(
                        arena.allocateFrom(variable.getKey()), arena.allocateFrom(variable.getValue()), 0);
            }
        } catch (Throwable e) {
            throw new IllegalStateException("setenv failed", e);
        }
    }
}
