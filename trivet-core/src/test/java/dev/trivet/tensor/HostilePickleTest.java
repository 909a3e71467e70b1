package dev.trivet.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Pickles that would run code, exhaust memory or never end: each is refused by a line that names what it asked for. */
@Timeout(value = 60, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class HostilePickleTest {
    private static final int[] TWO = {2};
    private static final int[] ONE = {1};

    @TempDir
    Path folder;

    private static HandPickle pickle() {
        return HandPickle.protocol(2);
    }

    private static Arguments refused(String label, HandPickle pickle, String problem) {
        return Arguments.of(label, pickle.bytes(), problem);
    }

    private static Arguments global(String module, String name) {
        return refused(
                module + "." + name,
                pickle().global(module, name).op('(').text("echo harm").op('t', 'R'),
                "asks for " + module + "." + name + ", which no checkpoint of tensors needs (nothing was run)");
    }

    static Stream<Arguments> names() {
        return Stream.of(
                global("os", "system"),
                global("posix", "system"),
                global("nt", "system"),
                global("subprocess", "Popen"),
                global("builtins", "eval"),
                global("builtins", "exec"),
                global("__builtin__", "eval"),
                global("builtins", "getattr"),
                global("builtins", "__import__"),
                global("importlib", "import_module"),
                global("torch.storage", "_load_from_bytes"),
                global("torch", "load"),
                global("torch.serialization", "load"),
                global("torch.hub", "load"),
                global("numpy", "load"),
                global("numpy.core.multiarray", "fromfile"),
                global("operator", "attrgetter"),
                global("functools", "partial"),
                global("collections", "OrderedDict.fromkeys"),
                global("collections", "namedtuple"),
                global("torch._utils", "__builtins__"),
                global("java.lang", "Runtime"),
                global("dev.trivet.tensor", "TorchFile"),
                global("", "torch.Size"),
                refused(
                        "by STACK_GLOBAL",
                        HandPickle.protocol(4).text("os").text("system").op(0x93),
                        "asks for os.system"),
                refused(
                        "never called, beside a state dict",
                        HandPickle.stateDict("t")
                                .text("x")
                                .global("os", "system")
                                .op('s'),
                        "asks for os.system"),
                refused(
                        "as the class of a dict subclass",
                        pickle().global("evil", "Dict").op(')', 0x81, '}', 'b'),
                        "asks for evil.Dict"),
                refused("name of 100,000 characters", pickle().global("a".repeat(100_000), "b"), "asks for aaaa"),
                refused("control characters", pickle().global("os\u001b[2J\r", "system"), "asks for os [2J"));
    }

    private static Arguments opcode(String name, HandPickle pickle) {
        return refused(name, pickle, "uses pickle opcode " + name + ", which no checkpoint of tensors needs");
    }

    static Stream<Arguments> opcodes() {
        return Stream.of(
                opcode("INST", pickle().op('(').text("harm").op('i').ascii("os\nsystem\n")),
                opcode("OBJ", pickle().op('(').global("argparse", "Namespace").op('o')),
                opcode("NEWOBJ_EX", pickle().global("argparse", "Namespace").op(')', '}', 0x92)),
                opcode("PERSID", pickle().op('P').ascii("storage\n")),
                opcode("EXT1", pickle().op(0x82, 1)),
                opcode("EXT2", pickle().op(0x83, 1, 0)),
                opcode("EXT4", pickle().op(0x84).u32(1)),
                opcode("NEXT_BUFFER", pickle().op(0x97)),
                opcode("READONLY_BUFFER", pickle().op(0x98)),
                opcode("BYTEARRAY8", pickle().op(0x96).u64(1L << 62)),
                opcode("LONG4", pickle().op(0x8b).u32(0xffff_ffffL)),
                opcode("DUP", pickle().op('N', '2')),
                opcode("POP", pickle().op('N', '0')),
                opcode("INT", pickle().op('I').ascii("1\n")),
                opcode("STRING", pickle().op('S').ascii("'a'\n")),
                opcode("GET", pickle().op('g').ascii("0\n")),
                opcode("DICT", pickle().op('(', 'd')));
    }

    static Stream<Arguments> calls() {
        return Stream.of(
                refused("call of a number", pickle().number(1).op(')', 'R'), "a call of an int"),
                refused("call of a text", pickle().text("os.system").op(')', 'R'), "a call of a str"),
                refused(
                        "call with a dict",
                        pickle().global("collections", "OrderedDict").op('}', 'R'),
                        "a call of"),
                refused(
                        "call of a storage type",
                        pickle().global("torch", "FloatStorage").op(')', 'R'),
                        "a call of torch.Flo"),
                refused("call of a dtype", pickle().global("torch", "float32").op(')', 'R'), "a call of torch.float32"),
                refused(
                        "object of a function",
                        pickle().global("torch._utils", "_rebuild_tensor_v2").op(')', 0x81),
                        "NEWOBJ of torch._utils._rebuild_tensor_v2"),
                refused("state of a function", pickle().global("torch", "Size").op('}', 'b'), "BUILD of torch.Size"),
                refused("state of a list", pickle().op(']', '}', 'b'), "BUILD of a list or tuple"),
                refused(
                        "tensor of nothing",
                        pickle().global("torch._utils", "_rebuild_tensor_v2").op(')', 'R'),
                        "argument 0 of a call is missing"),
                refused(
                        "parameter of a text",
                        pickle().global("torch._utils", "_rebuild_parameter")
                                .text("x")
                                .op(0x85, 'R'),
                        "argument 0 of a call is a str"),
                refused("persistent id a text", pickle().text("storage").op('Q'), "argument 0 of a call is missing"),
                refused(
                        "persistent id of a module",
                        pickle().op('(').text("module").text("x").op('t', 'Q'),
                        "a persistent id that is no storage"),
                refused(
                        "storage of a function",
                        pickle().op('(')
                                .text("storage")
                                .global("torch", "Size")
                                .text("0")
                                .text("cpu")
                                .number(1)
                                .op('t', 'Q'),
                        "a storage of type torch.Size"));
    }

    /** A list that is the arguments of {@code _rebuild_from_type_v2} and its own third element: recursion without end. */
    @Test
    void argumentsThatContainThemselves() {
        byte[] bytes = pickle().global("torch._tensor", "_rebuild_from_type_v2")
                .op('q', 1, ']', 'q', 0, '(', 'h', 1, 'N', 'h', 0, 'N', 'e', 'R')
                .bytes();
        refuses("cycle", bytes, "a tensor type within a tensor type");
    }

    private static HandPickle tensor(long elements, long offset, int[] shape, int[] strides) {
        return pickle().op('}')
                .text("t")
                .tensor("0", elements, offset, shape, strides)
                .op('s');
    }

    static Stream<Arguments> tensors() {
        int huge = Integer.MAX_VALUE;
        return Stream.of(
                refused(
                        "beyond the storage",
                        tensor(2, 0, new int[] {3}, ONE),
                        "reaches beyond the 2 elements of storage 0"),
                refused("offset beyond", tensor(2, 1, TWO, ONE), "reaches beyond"),
                refused("stride beyond", tensor(2, 0, TWO, TWO), "reaches beyond"),
                refused("offset of -1", tensor(2, -1, TWO, ONE), "reaches beyond"),
                refused("offset of 2^63-1", tensor(2, Long.MAX_VALUE, TWO, ONE), "too large to exist"),
                refused("negative shape", tensor(2, 0, new int[] {-2}, ONE), "negative shape or stride"),
                refused("negative stride", tensor(2, 1, TWO, new int[] {-1}), "negative shape or stride"),
                refused(
                        "shape of 2^124",
                        tensor(2, 0, new int[] {huge, huge, huge, huge}, new int[4]),
                        "too large to exist"),
                refused(
                        "16 TB out of 8 bytes",
                        tensor(2, 0, new int[] {1 << 21, 1 << 21}, new int[2]),
                        "that repeats 2 elements"),
                refused("strides of another length", tensor(2, 0, TWO, new int[] {1, 1}), "1 dimensions and 2 strides"),
                refused("17 dimensions", tensor(2, 0, new int[17], new int[17]), "over 16 dimensions"),
                refused(
                        "another storage length",
                        tensor(3, 0, TWO, ONE),
                        "has 8 bytes in zip entry archive/data/0 where its tensors need 12"),
                refused(
                        "storage of 2^63-1 floats",
                        tensor(Long.MAX_VALUE, 0, TWO, ONE),
                        "has a storage of 9223372036854775807 elements"),
                refused("storage of -1 floats", tensor(-1, 0, TWO, ONE), "has a storage of -1 elements"),
                refused(
                        "missing storage",
                        pickle().op('}').text("t").tensor("7", 2, 0, TWO, ONE).op('s'),
                        "lacks its zip entry archive/data/7"),
                refused(
                        "storage outside the archive",
                        pickle().op('}')
                                .text("t")
                                .tensor("../../../etc/passwd", 2, 0, TWO, ONE)
                                .op('s'),
                        "lacks its zip entry archive/data/../../../etc/passwd"));
    }

    static Stream<Arguments> damage() {
        return Stream.of(
                Arguments.of("no bytes", new byte[0], "it ends too early"),
                Arguments.of("no STOP", new byte[] {(byte) 0x80, 2, 'N'}, "it ends too early"),
                refused("STOP alone", pickle(), "the stack is empty"),
                refused("two values", pickle().op('N', 'N'), "leaves values behind"),
                refused("an unknown opcode", pickle().op(0xff), "0xff is no opcode"),
                refused("protocol 0", HandPickle.protocol(0).op('N'), "uses pickle protocol 0"),
                refused("protocol 6", HandPickle.protocol(6).op('N'), "uses pickle protocol 6"),
                refused("text of 4 GB", pickle().op('X').u32(0xffff_fff0L), "it ends too early"),
                refused("text of 2^63 bytes", pickle().op(0x8d).u64(Long.MIN_VALUE), "it ends too early"),
                refused("text of 2^62 bytes", pickle().op(0x8d).u64(1L << 62), "it ends too early"),
                refused("bytes of 4 GB", pickle().op('B').u32(0xffff_fff0L), "it ends too early"),
                refused("name without an end", pickle().op('c').ascii("os"), "it ends too early"),
                refused("unset mark", pickle().op('t'), "no mark is set"),
                refused("tuple through a mark", pickle().op('N', '(', 0x85), "the stack is empty"),
                refused("items through a mark", pickle().op(']', '(', 'N', 'a'), "the stack is empty"),
                refused("unset memo", pickle().op('h', 9), "nothing is remembered as 9"),
                refused("unset wide memo", pickle().op('j').u32(0xffff_ffffL), "nothing is remembered as 4294967295"),
                refused("memo of nothing", pickle().op('q', 0), "the stack is empty"),
                refused("items for a number", pickle().number(1).op('N', 'a'), "items for an int"),
                refused("entries for a list", pickle().op(']', 'N', 'N', 's'), "entries for a list or tuple"),
                refused("key without a value", pickle().op('}', '(', 'N', 'u'), "a key without a value"),
                refused(
                        "OrderedDict of numbers",
                        pickle().global("collections", "OrderedDict")
                                .op(']')
                                .number(1)
                                .op('a', 0x85, 'R'),
                        "a dict of something else than pairs"),
                refused("a number", pickle().number(1), "holds an int, not a state dict"),
                refused("None", pickle().op('N'), "holds None, not a state dict"),
                refused(
                        "an argparse result",
                        pickle().global("argparse", "Namespace").op(')', 0x81),
                        "holds argparse.Namespace, not a state dict"),
                refused("a class", pickle().global("torch", "Size"), "holds torch.Size, not a state dict"),
                refused("an empty dict", pickle().op('}'), "holds no state dict; save"),
                refused(
                        "a dict of numbers",
                        pickle().op('}').text("epoch").number(1).op('s'),
                        "holds no state dict, only a dict of epoch; save"));
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource({"names", "opcodes", "calls", "tensors", "damage"})
    void refuses(String label, byte[] bytes, String problem) {
        Path file = HandBuilt.write(
                folder.resolve("model.pth"), HandZip.torch(bytes, new byte[8]).bytes());
        assertThatThrownBy(() -> TorchFile.open(file))
                .as(label)
                .isInstanceOf(BadInputException.class)
                .hasMessageStartingWith(file + ": ")
                .hasMessageContaining(problem)
                .hasMessageNotContainingAny("\n", "\r", "\u001b")
                .satisfies(e -> assertThat(String.valueOf(e.getMessage()))
                        .hasSizeLessThan(file.toString().length() + 600));
    }

    private static HandPickle repeated(HandPickle start, int times, int... codes) {
        for (int i = 0; i < times; i++) {
            start.op(codes);
        }
        return start;
    }

    static Stream<Arguments> bombs() {
        int many = 999_000;
        HandPickle doubling = pickle().op(']', 'q', 0);
        for (int i = 0; i < 200; i++) {
            // [x, x, ..., x] of the list before: 10^200 leaves if it were walked.
            doubling = repeated(doubling.op(']', '('), 10, 'h', i).op('e', 'q', i + 1);
        }
        HandPickle listOfPairs = repeated(pickle().op(']', 'q', 0, '('), 100_000, ']');
        HandPickle pairs = pickle().text("k").op('N', 0x86, 'q', 1, ']', 'q', 0, '(');
        repeated(pairs, 300_000, 'h', 1)
                .op('e')
                .global("collections", "OrderedDict")
                .op('q', 2);
        return Stream.of(
                refused("a million lists in a list", repeated(pickle(), many, ']'), "leaves values behind"),
                refused("nested a million deep", repeated(pickle().op(']'), many, 0x85), "holds a list or tuple"),
                refused("a million marks", repeated(pickle(), many, '('), "the stack is empty"),
                refused("ten million operations", repeated(pickle(), 10_000_000, 'N'), "over 1000000 operations"),
                refused(
                        "ten million remembered",
                        repeated(pickle().op('N'), 10_000_000, 0x94),
                        "over 1000000 operations"),
                refused("lists that double", doubling, "leaves values behind"),
                refused("lists in lists", listOfPairs, "leaves values behind"),
                refused(
                        "a dict of 300,000 pairs, again and again",
                        repeated(pairs, 100_000, 'h', 2, 'h', 0, 0x85, 'R'),
                        "over 1000000 operations"));
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("bombs")
    void bombsAreRefusedWithinBounds(String label, byte[] bytes, String problem) {
        refuses("None", pickle().op('N').bytes(), "holds None"); // loads the classes
        long before = Allocation.ofThisThread();
        refuses(label, bytes, problem);
        // The pickle itself, in the file, the zip and the reader, and at most a million values.
        assertThat(Allocation.ofThisThread() - before).isLessThan(256L << 20);
    }
}
