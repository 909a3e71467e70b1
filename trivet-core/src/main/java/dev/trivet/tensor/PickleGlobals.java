package dev.trivet.tensor;

import dev.trivet.tensor.PickleValue.Global;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;

/**
 * The names that a checkpoint of tensors may ask for. Each has a role in {@link PickleReader}, which is all that it can do; a
 * name that is not here is refused, whether or not the pickle would call it.
 */
final class PickleGlobals {
    /** What calling the name means. */
    enum Role {
        /** An ordered or default dict. */
        DICT,
        /** {@code torch.Size}: the tuple it is given. */
        SIZE,
        /** Names a typed storage; calling it means nothing. */
        STORAGE,
        /** {@code (storage, offset, size, stride)}, more is ignored. */
        TENSOR,
        /** {@code (storage, offset, size, stride, requires_grad, hooks, dtype)}, more is ignored. */
        TENSOR_OF_DTYPE,
        /** {@code (tensor, ...)}: that tensor. */
        PARAMETER,
        /** {@code (function, class, arguments, state)}: the function's tensor. */
        TENSOR_OF_TYPE,
        /** Names an element type. */
        DTYPE,
        /** Anything else that may stand beside a state dict; the result is opaque. */
        INERT
    }

    private static final Map<String, Role> ROLES = new HashMap<>();

    /** Storage or dtype to safetensors' name of the element type. */
    private static final Map<String, String> DTYPES = new HashMap<>();

    static {
        ROLES.put("collections.OrderedDict", Role.DICT);
        ROLES.put("collections.defaultdict", Role.DICT);
        ROLES.put("torch.Size", Role.SIZE);
        ROLES.put("torch._utils._rebuild_tensor", Role.TENSOR);
        ROLES.put("torch._utils._rebuild_tensor_v2", Role.TENSOR);
        ROLES.put("torch._utils._rebuild_tensor_v3", Role.TENSOR_OF_DTYPE);
        ROLES.put("torch._utils._rebuild_parameter", Role.PARAMETER);
        ROLES.put("torch._utils._rebuild_parameter_with_state", Role.PARAMETER);
        ROLES.put("torch._tensor._rebuild_from_type_v2", Role.TENSOR_OF_TYPE);

        element("F32", "FloatStorage", "float32");
        element("F64", "DoubleStorage", "float64");
        element("F16", "HalfStorage", "float16");
        element("BF16", "BFloat16Storage", "bfloat16");
        element("I64", "LongStorage", "int64");
        element("I32", "IntStorage", "int32");
        element("I16", "ShortStorage", "int16");
        element("I8", "CharStorage", "int8");
        element("U8", "ByteStorage", "uint8");
        element("BOOL", "BoolStorage", "bool");
        dtype("U16", "uint16");
        dtype("U32", "uint32");
        dtype("U64", "uint64");
        dtype("F8_E4M3", "float8_e4m3fn");
        dtype("F8_E5M2", "float8_e5m2");
        ROLES.put("torch.storage.UntypedStorage", Role.STORAGE);
        DTYPES.put("torch.storage.UntypedStorage", "");

        inert(
                "",
                "argparse.Namespace",
                "_codecs.encode",
                "torch.device",
                "torch.Tensor",
                "torch.nn.parameter.Parameter");
        inert("", "yacs.config.CfgNode", "fvcore.common.config.CfgNode", "detectron2.config.config.CfgNode");
        inert("numpy.", "dtype", "ndarray", "core.multiarray.scalar", "core.multiarray._reconstruct");
        inert("numpy._core.multiarray.", "scalar", "_reconstruct");
        for (String builtins : new String[] {"builtins.", "__builtin__."}) {
            inert(builtins, "set", "frozenset", "dict", "list", "tuple", "int", "float", "str", "bool", "complex");
        }
        inert("collections.", "Counter", "deque");
        for (String pathlib : new String[] {"pathlib.", "pathlib._local."}) {
            inert(pathlib, "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path");
        }
    }

    private PickleGlobals() {}

    private static void element(String dtype, String storage, String name) {
        for (String module : new String[] {"torch.", "torch.cuda."}) {
            ROLES.put(module + storage, Role.STORAGE);
            DTYPES.put(module + storage, dtype);
        }
        dtype(dtype, name);
    }

    private static void dtype(String dtype, String name) {
        ROLES.put("torch." + name, Role.DTYPE);
        DTYPES.put("torch." + name, dtype);
    }

    private static void inert(String module, String... names) {
        for (String name : names) {
            ROLES.put(module + name, Role.INERT);
        }
    }

    static Optional<Global> find(String name) {
        return Optional.ofNullable(ROLES.get(name)).map(role -> new Global(name, role));
    }

    /** The element type of a storage or dtype, as safetensors names it; empty for {@code UntypedStorage}. */
    static String dtype(Global global) {
        String dtype = DTYPES.get(global.name());
        if (dtype == null) {
            throw new IllegalArgumentException(global.name());
        }
        return dtype;
    }
}
