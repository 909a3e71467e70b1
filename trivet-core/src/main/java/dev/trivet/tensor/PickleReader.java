package dev.trivet.tensor;

import dev.trivet.tensor.PickleGlobals.Role;
import dev.trivet.tensor.PickleValue.Constant;
import dev.trivet.tensor.PickleValue.Dict;
import dev.trivet.tensor.PickleValue.Global;
import dev.trivet.tensor.PickleValue.Opaque;
import dev.trivet.tensor.PickleValue.Sequence;
import dev.trivet.tensor.PickleValue.Storage;
import dev.trivet.tensor.PickleValue.Text;
import dev.trivet.tensor.PickleValue.View;
import dev.trivet.tensor.PickleValue.Whole;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Reads the pickles of {@code torch.save} as data. A pickle is a program for a small stack machine; Python's machine calls
 * whatever the program names. This one knows the opcodes that PyTorch writes in protocols 2 to 5 and the names of
 * {@link PickleGlobals}, and calls nothing: rebuilding a tensor gives a description of it, and anything that may stand beside a
 * state dict gives an opaque value. Other opcodes and names are refused by name.
 *
 * <p>Bounded: no recursion, at most {@value #MOST_OPERATIONS} operations, each of which makes at most one value besides text of
 * the pickle's own length. Not thread-safe.
 */
final class PickleReader {
    private static final int MOST_OPERATIONS = 1_000_000;
    private static final String ONLY_STATE = "save only the model's state dict, with torch.save or as safetensors";

    private final ByteBuffer in;
    private final List<PickleValue> stack = new ArrayList<>();
    private final Deque<Integer> marks = new ArrayDeque<>();
    private final Map<Integer, PickleValue> memo = new HashMap<>();
    private int operations;

    private PickleReader(byte[] pickle) {
        in = ByteBuffer.wrap(pickle).order(ByteOrder.LITTLE_ENDIAN);
    }

    /** The value that the pickle describes. */
    static PickleValue read(byte[] pickle) throws MalformedTorchException {
        PickleReader reader = new PickleReader(pickle);
        while (true) {
            reader.count(1);
            int code = reader.u8();
            PickleOpcode opcode = PickleOpcode.of(code)
                    .orElseThrow(() -> new MalformedTorchException(
                            "has a damaged pickle: 0x" + Integer.toHexString(code) + " is no opcode"));
            if (opcode == PickleOpcode.STOP) {
                PickleValue value = reader.pop();
                if (!reader.stack.isEmpty()) {
                    throw new MalformedTorchException("has a damaged pickle: it leaves values behind");
                }
                return value;
            }
            reader.execute(opcode);
        }
    }

    private void count(int done) throws MalformedTorchException {
        if (done > MOST_OPERATIONS - operations) {
            throw new MalformedTorchException("has a pickle of over " + MOST_OPERATIONS + " operations", ONLY_STATE);
        }
        operations += done;
    }

    private void execute(PickleOpcode opcode) throws MalformedTorchException {
        switch (opcode) {
            case PROTO -> protocol();
            case FRAME -> bytes(8);
            case MARK -> marks.push(stack.size());
            case NONE -> stack.add(Constant.NONE);
            case NEWTRUE -> stack.add(Constant.TRUE);
            case NEWFALSE -> stack.add(Constant.FALSE);
            case BININT -> stack.add(new Whole(bytes(4).getInt()));
            case BININT1 -> stack.add(new Whole(u8()));
            case BININT2 -> stack.add(new Whole(Short.toUnsignedInt(bytes(2).getShort())));
            case LONG1 -> stack.add(whole(bytes(u8())));
            case BINFLOAT -> opaque("a float", 8);
            case BINUNICODE -> stack.add(text(u32()));
            case SHORT_BINUNICODE -> stack.add(text(u8()));
            case BINUNICODE8 -> stack.add(text(bytes(8).getLong()));
            // Python 2's strings are bytes; those that matter are ASCII.
            case BINSTRING -> stack.add(text(u32()));
            case SHORT_BINSTRING -> stack.add(text(u8()));
            case BINBYTES -> opaque("bytes", u32());
            case SHORT_BINBYTES -> opaque("bytes", u8());
            case EMPTY_LIST, EMPTY_TUPLE -> stack.add(new Sequence(List.of()));
            case TUPLE -> stack.add(new Sequence(popMarked()));
            case TUPLE1 -> stack.add(new Sequence(pop(1)));
            case TUPLE2 -> stack.add(new Sequence(pop(2)));
            case TUPLE3 -> stack.add(new Sequence(pop(3)));
            case EMPTY_DICT -> stack.add(new Dict());
            case EMPTY_SET -> stack.add(new Opaque("a set"));
            case FROZENSET -> {
                popMarked();
                stack.add(new Opaque("a set"));
            }
            case APPEND -> append(pop(1));
            case APPENDS, ADDITEMS -> append(popMarked());
            case SETITEM -> setItems(pop(2));
            case SETITEMS -> setItems(popMarked());
            case GLOBAL -> {
                String module = line();
                global(module, line());
            }
            case STACK_GLOBAL -> {
                List<PickleValue> names = pop(2);
                if (!(names.get(0) instanceof Text module) || !(names.get(1) instanceof Text name)) {
                    throw damaged("STACK_GLOBAL of something else than names");
                }
                global(module.value(), name.value());
            }
            case BINPERSID -> stack.add(storage(pop()));
            case REDUCE -> {
                List<PickleValue> call = pop(2);
                stack.add(call(call.get(0), call.get(1)));
            }
            case NEWOBJ -> {
                List<PickleValue> call = pop(2);
                if (!(call.get(0) instanceof Global type) || type.role() != Role.INERT) {
                    throw damaged("NEWOBJ of " + call.get(0).kind());
                }
                stack.add(new Opaque(type.name()));
            }
            case BUILD -> {
                pop();
                // Attributes: of an OrderedDict its _metadata, of a Namespace everything.
                if (!(peek() instanceof Dict) && !(peek() instanceof Opaque)) {
                    throw damaged("BUILD of " + peek().kind());
                }
            }
            case BINPUT -> memo.put(u8(), peek());
            case LONG_BINPUT -> memo.put(bytes(4).getInt(), peek());
            case MEMOIZE -> memo.put(memo.size(), peek());
            case BINGET -> recall(u8());
            case LONG_BINGET -> recall(bytes(4).getInt());
            default ->
                throw new MalformedTorchException(
                        "uses pickle opcode " + opcode + ", which no checkpoint of tensors needs (nothing was run)",
                        ONLY_STATE);
        }
    }

    // ---- bytes

    private MalformedTorchException damaged(String what) {
        return new MalformedTorchException("has a damaged pickle: " + what + " at byte " + in.position());
    }

    /** The next bytes, as a view. */
    private ByteBuffer bytes(long count) throws MalformedTorchException {
        if (count < 0 || count > in.remaining()) {
            throw damaged("it ends too early");
        }
        ByteBuffer view = in.slice(in.position(), (int) count).order(ByteOrder.LITTLE_ENDIAN);
        in.position(in.position() + (int) count);
        return view;
    }

    private int u8() throws MalformedTorchException {
        return Byte.toUnsignedInt(bytes(1).get());
    }

    private long u32() throws MalformedTorchException {
        return Integer.toUnsignedLong(bytes(4).getInt());
    }

    private void protocol() throws MalformedTorchException {
        int protocol = u8();
        if (protocol < 2 || protocol > 5) {
            throw new MalformedTorchException(
                    "uses pickle protocol " + protocol, "save it again with torch.save's default protocol");
        }
    }

    private static PickleValue whole(ByteBuffer digits) {
        if (digits.remaining() > 8) {
            return new Opaque("an int");
        }
        long value = 0;
        for (int i = digits.remaining() - 1; i >= 0; i--) {
            // The highest byte carries the sign.
            value = value << 8 | (i == digits.remaining() - 1 ? digits.get(i) : digits.get(i) & 0xff);
        }
        return new Whole(value);
    }

    private Text text(long length) throws MalformedTorchException {
        ByteBuffer encoded = bytes(length);
        try {
            return new Text(StandardCharsets.UTF_8.newDecoder().decode(encoded).toString());
        } catch (CharacterCodingException _) {
            // PyTorch never names a tensor so, and what else is named so is of no interest.
            return new Text(StandardCharsets.ISO_8859_1.decode(encoded.rewind()).toString());
        }
    }

    private void opaque(String kind, long length) throws MalformedTorchException {
        bytes(length);
        stack.add(new Opaque(kind));
    }

    private String line() throws MalformedTorchException {
        int start = in.position();
        while (u8() != '\n') {
            // On to the line's end.
        }
        return StandardCharsets.UTF_8
                .decode(in.slice(start, in.position() - 1 - start))
                .toString();
    }

    // ---- stack

    /** Values that belong to an open MARK are not for operations after it. */
    private int available() {
        return stack.size() - (marks.isEmpty() ? 0 : marks.getFirst());
    }

    private PickleValue peek() throws MalformedTorchException {
        if (available() < 1) {
            throw damaged("the stack is empty");
        }
        return stack.getLast();
    }

    private PickleValue pop() throws MalformedTorchException {
        peek();
        return stack.removeLast();
    }

    private List<PickleValue> pop(int count) throws MalformedTorchException {
        if (available() < count) {
            throw damaged("the stack is empty");
        }
        List<PickleValue> top = stack.subList(stack.size() - count, stack.size());
        List<PickleValue> values = List.copyOf(top);
        top.clear();
        return values;
    }

    private List<PickleValue> popMarked() throws MalformedTorchException {
        if (marks.isEmpty()) {
            throw damaged("no mark is set");
        }
        int count = available();
        List<PickleValue> values = pop(count);
        marks.pop();
        return values;
    }

    private void recall(int index) throws MalformedTorchException {
        PickleValue value = memo.get(index);
        if (value == null) {
            throw damaged("nothing is remembered as " + Integer.toUnsignedString(index));
        }
        stack.add(value);
    }

    // ---- containers

    private void append(List<PickleValue> items) throws MalformedTorchException {
        PickleValue target = peek();
        if (target instanceof Sequence list) {
            items.forEach(list::add);
        } else if (!(target instanceof Opaque)) {
            throw damaged("items for " + target.kind());
        }
    }

    private void setItems(List<PickleValue> items) throws MalformedTorchException {
        PickleValue target = peek();
        if (items.size() % 2 != 0) {
            throw damaged("a key without a value");
        }
        if (target instanceof Dict dict) {
            for (int i = 0; i < items.size(); i += 2) {
                dict.put(items.get(i), items.get(i + 1));
            }
        } else if (!(target instanceof Opaque)) {
            throw damaged("entries for " + target.kind());
        }
    }

    // ---- names and calls

    private void global(String module, String name) throws MalformedTorchException {
        String full = module + "." + name;
        stack.add(PickleGlobals.find(full)
                .orElseThrow(() -> new MalformedTorchException(
                        "asks for " + SafetensorsHeader.shown(full)
                                + ", which no checkpoint of tensors needs (nothing was run)",
                        ONLY_STATE)));
    }

    private PickleValue call(PickleValue function, PickleValue arguments) throws MalformedTorchException {
        if (!(function instanceof Global global) || !(arguments instanceof Sequence sequence)) {
            throw damaged("a call of " + function.kind());
        }
        List<PickleValue> given = sequence.items();
        return switch (global.role()) {
            case DICT -> dict(given);
            case SIZE -> argument(given, 0, Sequence.class);
            case TENSOR -> new View(tensor(argument(given, 0, Storage.class).dtype(), given));
            case TENSOR_OF_DTYPE -> {
                Global dtype = argument(given, 6, Global.class);
                if (dtype.role() != Role.DTYPE) {
                    throw damaged("an element type of " + dtype.name());
                }
                yield new View(tensor(PickleGlobals.dtype(dtype), given));
            }
            case PARAMETER -> argument(given, 0, View.class);
            case TENSOR_OF_TYPE -> {
                // Not itself: its arguments might contain themselves.
                Global inner = argument(given, 0, Global.class);
                if (inner.role() == Role.TENSOR_OF_TYPE) {
                    throw damaged("a tensor type within a tensor type");
                }
                yield call(inner, argument(given, 2, Sequence.class));
            }
            case INERT -> new Opaque(global.name());
            case STORAGE, DTYPE -> throw damaged("a call of " + global.name());
        };
    }

    private static <T extends PickleValue> T argument(List<PickleValue> given, int index, Class<T> type)
            throws MalformedTorchException {
        if (index >= given.size() || !type.isInstance(given.get(index))) {
            throw new MalformedTorchException("has a damaged pickle: argument " + index + " of a call is "
                    + (index < given.size() ? given.get(index).kind() : "missing"));
        }
        return type.cast(given.get(index));
    }

    /** Python 2 gave an OrderedDict its entries as a list of pairs; a default dict is given only a type. */
    private Dict dict(List<PickleValue> given) throws MalformedTorchException {
        Dict dict = new Dict();
        if (given.size() == 1 && given.getFirst() instanceof Sequence pairs) {
            // A remembered list may be given again and again.
            count(pairs.items().size());
            for (PickleValue pair : pairs.items()) {
                if (!(pair instanceof Sequence both) || both.items().size() != 2) {
                    throw damaged("a dict of something else than pairs");
                }
                dict.put(both.items().get(0), both.items().get(1));
            }
        }
        return dict;
    }

    private static StridedView tensor(String dtype, List<PickleValue> given) throws MalformedTorchException {
        Storage storage = argument(given, 0, Storage.class);
        if (dtype.isEmpty()) {
            throw new MalformedTorchException("has a damaged pickle: a tensor without element type");
        }
        return StridedView.of(
                dtype,
                storage,
                argument(given, 1, Whole.class).value(),
                numbers(argument(given, 2, Sequence.class)),
                numbers(argument(given, 3, Sequence.class)));
    }

    private static List<Long> numbers(Sequence sequence) throws MalformedTorchException {
        List<PickleValue> items = sequence.items();
        List<Long> numbers = new ArrayList<>();
        for (int i = 0; i < items.size(); i++) {
            if (i == SafetensorsHeader.MOST_DIMENSIONS) {
                throw new MalformedTorchException("has a tensor of over " + i + " dimensions");
            }
            numbers.add(argument(items, i, Whole.class).value());
        }
        return numbers;
    }

    /** {@code ("storage", type, key, location, elements)}; of an untyped storage the elements are bytes. */
    private static Storage storage(PickleValue id) throws MalformedTorchException {
        List<PickleValue> parts = id instanceof Sequence sequence ? sequence.items() : List.of();
        if (!argument(parts, 0, Text.class).value().equals("storage")) {
            throw new MalformedTorchException("has a damaged pickle: a persistent id that is no storage");
        }
        Global type = argument(parts, 1, Global.class);
        if (type.role() != Role.STORAGE) {
            throw new MalformedTorchException("has a damaged pickle: a storage of type " + type.name());
        }
        String dtype = PickleGlobals.dtype(type);
        String key = argument(parts, 2, Text.class).value();
        long elements = argument(parts, 4, Whole.class).value();
        int bytes = dtype.isEmpty() ? 1 : SafetensorsHeader.ELEMENT_BYTES.getOrDefault(dtype, 1);
        if (elements < 0 || elements > Long.MAX_VALUE / bytes) {
            throw new MalformedTorchException("has a storage of " + elements + " elements");
        }
        return new Storage(dtype, key, elements * bytes);
    }
}
