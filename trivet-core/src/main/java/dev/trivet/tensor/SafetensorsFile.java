package dev.trivet.tensor;

import dev.trivet.BadInputException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * A memory-mapped safetensors file. The format: 8 bytes little-endian header length, a JSON header that gives each tensor's
 * dtype, shape and byte range, then the bytes. The whole header is checked when the file is opened (see
 * {@link SafetensorsHeader}), so every tensor handed out lies inside the file.
 *
 * <p>Safe to read from several threads. Tensors must not be used after {@link #close()}.
 */
public final class SafetensorsFile implements TensorFile {
    private static final ValueLayout.OfLong LENGTH = ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final String REMEDY = "copy or download the file again";

    private final Path file;
    private final Arena arena;
    private final MemorySegment data;
    private final SafetensorsHeader header;
    private final Map<String, Tensor> tensors = new LinkedHashMap<>();

    private SafetensorsFile(Path file, Arena arena, MemorySegment data, SafetensorsHeader header) {
        this.file = file;
        this.arena = arena;
        this.data = data;
        this.header = header;
        header.entries()
                .forEach((name, entry) -> entry.known()
                        .ifPresent(type -> tensors.put(
                                name,
                                new Tensor(
                                        name,
                                        type,
                                        entry.shape(),
                                        data.asSlice(entry.begin(), entry.end() - entry.begin())))));
    }

    /**
     * Maps and checks a file.
     *
     * @throws BadInputException if it cannot be read or is not a well-formed safetensors file
     */
    public static SafetensorsFile open(Path file) {
        MappedFile mapped = MappedFile.open(file, ".safetensors file");
        try {
            MemorySegment bytes = mapped.bytes();
            long size = bytes.byteSize();
            if (size < 8) {
                throw malformed(file, "is " + size + " bytes long, too short for a safetensors header", null);
            }
            long length = bytes.get(LENGTH, 0);
            // An unsigned length above 2^63 reads as negative.
            if (length < 0 || length > SafetensorsHeader.LONGEST) {
                throw malformed(
                        file,
                        "claims a header of " + Long.toUnsignedString(length) + " bytes, more than the "
                                + SafetensorsHeader.LONGEST + " the format allows",
                        null);
            }
            if (length > size - 8) {
                throw malformed(file, "claims a header of " + length + " bytes but holds only " + (size - 8), null);
            }
            MemorySegment data = bytes.asSlice(8 + length);
            byte[] json = bytes.asSlice(8, length).toArray(ValueLayout.JAVA_BYTE);
            SafetensorsHeader header;
            try {
                header = SafetensorsHeader.parse(json, data.byteSize());
            } catch (MalformedHeaderException e) {
                throw malformed(file, e.reason(), e);
            }
            return new SafetensorsFile(file, mapped.arena(), data, header);
        } catch (RuntimeException | Error e) {
            mapped.close();
            throw e;
        }
    }

    private static BadInputException malformed(Path file, String problem, @Nullable Throwable cause) {
        String text = file + ": " + problem + "; " + REMEDY;
        return cause == null ? new BadInputException(text) : new BadInputException(text, cause);
    }

    @Override
    public Path file() {
        return file;
    }

    @Override
    public List<Path> files() {
        return List.of(file);
    }

    /** Bytes of the tensors, without the header. */
    public long dataBytes() {
        return data.byteSize();
    }

    /** The header's free-form string map; empty where there is none. */
    public Map<String, String> metadata() {
        return header.metadata();
    }

    @Override
    public List<String> names() {
        return List.copyOf(header.entries().keySet());
    }

    /**
     * The tensor of that name.
     *
     * @throws BadInputException if the file has it in an element type that Trivet does not read
     */
    @Override
    public Optional<Tensor> find(String name) {
        Tensor tensor = tensors.get(name);
        SafetensorsHeader.Entry entry = header.entries().get(name);
        if (tensor == null && entry != null) {
            throw new BadInputException(
                    file,
                    "tensor " + name + " has element type " + entry.dtype(),
                    "convert it to F32, F16, BF16, I8, U8 or I32");
        }
        return Optional.ofNullable(tensor);
    }

    @Override
    public void close() {
        arena.close();
    }
}
