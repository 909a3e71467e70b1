package dev.trivet.kernel;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.io.File;
import java.io.IOException;
import java.lang.foreign.AddressLayout;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;
import java.util.Arrays;
import org.bytedeco.javacpp.Loader;

/**
 * The part of oneDNN's C interface that Trivet calls, bound with the foreign-function API.
 *
 * <p>The shared library comes from the {@code org.bytedeco:dnnl} jar and is unpacked by JavaCPP's loader into its cache. Its JNI
 * layer is not used: handles passed as plain longs cost no object per call, nothing but this library and OpenMP is loaded, and
 * memory belongs to arenas like all other memory here.
 */
final class OnednnLibrary {
    // Constants of oneDNN's public headers, version 3.x.
    static final int F32 = 3;
    static final int S32 = 4;
    static final int S8 = 5;
    static final int U8 = 6;
    static final long TAG_ANY = 1;
    static final int ARG_SRC = 1;
    static final int ARG_DST = 17;
    static final int ARG_WEIGHTS = 33;
    static final int ARG_BIAS = 41;
    static final int ARG_SCRATCHPAD = 80;
    static final int ARG_WEIGHT_SCALES = 4096 | ARG_WEIGHTS;
    /** A scale for each element of a matrix' last dimension. */
    private static final long SCALES_PER_COLUMN = 2;

    private static final long ENGINE_CPU = 1;
    private static final long STREAM_IN_ORDER = 1;
    private static final long SCRATCHPAD_USER = 1;
    private static final long QUERY_IMPL_INFO = 8;
    static final int QUERY_WEIGHTS_MD = 131;
    static final int QUERY_SCRATCHPAD_MD = 136;

    private static final Linker LINKER = Linker.nativeLinker();

    private final SymbolLookup dnnl;
    private final MethodHandle engineCreate;
    private final MethodHandle streamCreate;
    private final MethodHandle streamDestroy;
    private final MethodHandle descCreateWithTag;
    private final MethodHandle descCreateWithStrides;
    private final MethodHandle descClone;
    private final MethodHandle descDestroy;
    private final MethodHandle descSize;
    private final MethodHandle attrCreate;
    private final MethodHandle attrDestroy;
    private final MethodHandle attrScratchpad;
    private final MethodHandle attrScales;
    private final MethodHandle attrPostOps;
    private final MethodHandle postOpsCreate;
    private final MethodHandle postOpsDestroy;
    private final MethodHandle postOpsSum;
    private final MethodHandle matmulDesc;
    private final MethodHandle reorderDesc;
    private final MethodHandle primitiveDescQueryMd;
    private final MethodHandle primitiveDescQuery;
    private final MethodHandle primitiveDescDestroy;
    private final MethodHandle primitiveCreate;
    private final MethodHandle primitiveExecute;
    private final MethodHandle primitiveDestroy;
    private final MethodHandle memoryCreate;
    private final MethodHandle memoryDestroy;
    private final MethodHandle memorySetHandle;
    private final MethodHandle effectiveIsa;
    private final MethodHandle ompSetThreads;
    private final long engine;

    @SuppressWarnings("restricted")
    private OnednnLibrary(SymbolLookup dnnl, SymbolLookup openMp) {
        this.dnnl = dnnl;
        engineCreate = status("dnnl_engine_create", 3);
        streamCreate = status("dnnl_stream_create", 3);
        streamDestroy = status("dnnl_stream_destroy", 1);
        descCreateWithTag = status("dnnl_memory_desc_create_with_tag", 5);
        descCreateWithStrides = status("dnnl_memory_desc_create_with_strides", 5);
        descClone = status("dnnl_memory_desc_clone", 2);
        descDestroy = status("dnnl_memory_desc_destroy", 1);
        descSize = function("dnnl_memory_desc_get_size", JAVA_LONG, 1);
        attrCreate = status("dnnl_primitive_attr_create", 1);
        attrDestroy = status("dnnl_primitive_attr_destroy", 1);
        attrScratchpad = status("dnnl_primitive_attr_set_scratchpad_mode", 2);
        attrScales = status("dnnl_primitive_attr_set_scales_mask", 3);
        attrPostOps = status("dnnl_primitive_attr_set_post_ops", 2);
        postOpsCreate = status("dnnl_post_ops_create", 1);
        postOpsDestroy = status("dnnl_post_ops_destroy", 1);
        postOpsSum = LINKER.downcallHandle(
                symbol("dnnl_post_ops_append_sum"),
                FunctionDescriptor.of(JAVA_INT, JAVA_LONG, JAVA_FLOAT, JAVA_INT, JAVA_INT));
        matmulDesc = status("dnnl_matmul_primitive_desc_create", 7);
        reorderDesc = status("dnnl_reorder_primitive_desc_create", 6);
        primitiveDescQueryMd = function("dnnl_primitive_desc_query_md", JAVA_LONG, 3);
        primitiveDescQuery = status("dnnl_primitive_desc_query", 4);
        primitiveDescDestroy = status("dnnl_primitive_desc_destroy", 1);
        primitiveCreate = status("dnnl_primitive_create", 2);
        primitiveExecute = status("dnnl_primitive_execute", 4);
        primitiveDestroy = status("dnnl_primitive_destroy", 1);
        memoryCreate = status("dnnl_memory_create", 4);
        memoryDestroy = status("dnnl_memory_destroy", 1);
        memorySetHandle = status("dnnl_memory_set_data_handle", 2);
        effectiveIsa = LINKER.downcallHandle(symbol("dnnl_get_effective_cpu_isa"), FunctionDescriptor.of(JAVA_INT));
        ompSetThreads = LINKER.downcallHandle(
                openMp.find("omp_set_num_threads").orElseThrow(() -> new UnsatisfiedLinkError("omp_set_num_threads")),
                FunctionDescriptor.ofVoid(JAVA_INT));
        engine = create(out -> (int) engineCreate.invokeExact(out, ENGINE_CPU, 0L));
    }

    /**
     * Unpacks (once per machine) and loads the library.
     *
     * @throws UnsatisfiedLinkError with the reason, if this machine has none or it does not load
     */
    @SuppressWarnings("restricted")
    static OnednnLibrary load() {
        String platform = Loader.getPlatform();
        String folder = "/org/bytedeco/dnnl/" + platform + "/";
        try {
            File openMp = unpack(folder, platform.startsWith("linux") ? "libgomp.so.1" : "libomp.dylib");
            File dnnl = unpack(folder, platform.startsWith("linux") ? "libdnnl.so.3" : "libdnnl.3.dylib");
            Arena forever = Arena.global();
            SymbolLookup omp = SymbolLookup.libraryLookup(openMp.toPath(), forever);
            return new OnednnLibrary(SymbolLookup.libraryLookup(dnnl.toPath(), forever), omp);
        } catch (IOException | IllegalArgumentException e) {
            UnsatisfiedLinkError error = new UnsatisfiedLinkError(String.valueOf(e.getMessage()));
            error.initCause(e);
            throw error;
        }
    }

    private static File unpack(String folder, String name) throws IOException {
        java.net.URL resource = OnednnLibrary.class.getResource(folder + name);
        if (resource == null) {
            throw new IOException("no oneDNN for " + Loader.getPlatform() + " on the class path");
        }
        return Loader.cacheResource(resource);
    }

    private MemorySegment symbol(String name) {
        return dnnl.find(name).orElseThrow(() -> new UnsatisfiedLinkError(name));
    }

    private MethodHandle status(String name, int arguments) {
        return function(name, JAVA_INT, arguments);
    }

    /**
     * A function of pointers and ints, all passed as longs: the JVM generates classes for each kind of signature, which was a quarter of the time it took to load
     * the kernels. An int among a function's first six arguments has a register of its own (System V on x86-64, AAPCS64), of which the lower half is read;
     * the seventh, where there is one, is a pointer.
     */
    @SuppressWarnings("restricted")
    private MethodHandle function(String name, MemoryLayout returned, int arguments) {
        MemoryLayout[] longs = new MemoryLayout[arguments];
        Arrays.fill(longs, JAVA_LONG);
        return LINKER.downcallHandle(symbol(name), FunctionDescriptor.of(returned, longs));
    }

    int isa() {
        return call(() -> (int) effectiveIsa.invokeExact());
    }

    /** OpenMP's thread count is a property of the calling thread; Trivet spreads images over threads instead. */
    void useOneThread() {
        try { // each run comes here: a lambda would be an object now and then
            ompSetThreads.invokeExact(1);
        } catch (Throwable e) {
            throw unchecked(e);
        }
    }

    long openStream() {
        return create(out -> (int) streamCreate.invokeExact(out, engine, STREAM_IN_ORDER));
    }

    void closeStream(long stream) {
        check(call(() -> (int) streamDestroy.invokeExact(stream)));
    }

    /** A dense or strided descriptor. */
    long describe(int type, long[] dimensions, long[] strides) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment dims = arena.allocateFrom(JAVA_LONG, dimensions);
            MemorySegment steps = arena.allocateFrom(JAVA_LONG, strides);
            return create(out -> (int) descCreateWithStrides.invokeExact(
                    out, (long) dimensions.length, dims.address(), (long) type, steps.address()));
        }
    }

    /** A descriptor whose layout the primitive may choose. */
    long describeAny(int type, long... dimensions) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment dims = arena.allocateFrom(JAVA_LONG, dimensions);
            return create(out -> (int)
                    descCreateWithTag.invokeExact(out, (long) dimensions.length, dims.address(), (long) type, TAG_ANY));
        }
    }

    long cloneDescriptor(long descriptor) {
        return create(out -> (int) descClone.invokeExact(out, descriptor));
    }

    void freeDescriptor(long descriptor) {
        check(call(() -> (int) descDestroy.invokeExact(descriptor)));
    }

    long bytes(long descriptor) {
        long[] size = new long[1];
        call(() -> {
            size[0] = (long) descSize.invokeExact(descriptor);
            return 0;
        });
        return size[0];
    }

    /**
     * A matmul that takes its scratch memory from the caller, so that threads can share it.
     *
     * @param bias 0 for none; with it each column is multiplied by a scale before
     * @param sum whether the result is added to what the destination holds
     */
    long matmul(long source, long weights, long bias, long destination, boolean sum) {
        long attributes = create(out -> (int) attrCreate.invokeExact(out));
        try {
            check(call(() -> (int) attrScratchpad.invokeExact(attributes, SCRATCHPAD_USER)));
            if (bias != 0) {
                check(call(() -> (int) attrScales.invokeExact(attributes, (long) ARG_WEIGHTS, SCALES_PER_COLUMN)));
            }
            if (sum) {
                addToDestination(attributes);
            }
            return create(
                    out -> (int) matmulDesc.invokeExact(out, engine, source, weights, bias, destination, attributes));
        } finally {
            check(call(() -> (int) attrDestroy.invokeExact(attributes)));
        }
    }

    private void addToDestination(long attributes) {
        long operations = create(out -> (int) postOpsCreate.invokeExact(out));
        try {
            check(call(() -> (int) postOpsSum.invokeExact(operations, 1f, 0, 0))); // factor, zero point, type as it is
            check(call(() -> (int) attrPostOps.invokeExact(attributes, operations)));
        } finally {
            check(call(() -> (int) postOpsDestroy.invokeExact(operations)));
        }
    }

    long reorder(long from, long to) {
        return create(out -> (int) reorderDesc.invokeExact(out, from, engine, to, engine, 0L));
    }

    /** A descriptor inside a primitive descriptor; it lives as long as that one. */
    long query(long primitiveDescriptor, int what) {
        long[] found = new long[1];
        call(() -> {
            found[0] = (long) primitiveDescQueryMd.invokeExact(primitiveDescriptor, (long) what, 0L);
            return 0;
        });
        return found[0];
    }

    /** Which of oneDNN's implementations was picked. */
    @SuppressWarnings("restricted")
    String implementation(long primitiveDescriptor) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment text = arena.allocate(ADDRESS);
            check(call(() ->
                    (int) primitiveDescQuery.invokeExact(primitiveDescriptor, QUERY_IMPL_INFO, 0L, text.address())));
            AddressLayout string =
                    ADDRESS.withTargetLayout(MemoryLayout.sequenceLayout(256, java.lang.foreign.ValueLayout.JAVA_BYTE));
            return text.get(string, 0).getString(0);
        }
    }

    /** Makes the primitive and frees its descriptor. */
    long primitive(long primitiveDescriptor) {
        try {
            return create(out -> (int) primitiveCreate.invokeExact(out, primitiveDescriptor));
        } finally {
            check(call(() -> (int) primitiveDescDestroy.invokeExact(primitiveDescriptor)));
        }
    }

    void freePrimitive(long primitive) {
        check(call(() -> (int) primitiveDestroy.invokeExact(primitive)));
    }

    void execute(long primitive, long stream, int count, long arguments) {
        try {
            check((int) primitiveExecute.invokeExact(primitive, stream, (long) count, arguments));
        } catch (Throwable e) {
            throw unchecked(e);
        }
    }

    long memory(long descriptor, long address) {
        return create(out -> (int) memoryCreate.invokeExact(out, descriptor, engine, address));
    }

    void freeMemory(long memory) {
        check(call(() -> (int) memoryDestroy.invokeExact(memory)));
    }

    void point(long memory, long address) {
        try {
            check((int) memorySetHandle.invokeExact(memory, address));
        } catch (Throwable e) {
            throw unchecked(e);
        }
    }

    @FunctionalInterface
    private interface Call {
        int run() throws Throwable;
    }

    @FunctionalInterface
    private interface Creation {
        int run(long out) throws Throwable;
    }

    private static int call(Call call) {
        try {
            return call.run();
        } catch (Throwable e) {
            throw unchecked(e);
        }
    }

    private static long create(Creation creation) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(JAVA_LONG);
            check(call(() -> creation.run(out.address())));
            return out.get(JAVA_LONG, 0);
        }
    }

    private static RuntimeException unchecked(Throwable e) {
        if (e instanceof Error error) {
            throw error;
        }
        return e instanceof RuntimeException known ? known : new IllegalStateException(e);
    }

    private static void check(int status) {
        if (status != 0) {
            String reason = switch (status) {
                case 1 -> "out of memory";
                case 2 -> "invalid arguments";
                case 3 -> "unimplemented";
                default -> "status " + status;
            };
            throw new IllegalStateException("oneDNN: " + reason);
        }
    }
}
