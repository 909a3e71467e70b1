package dev.trivet.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.zip.CRC32;
import java.util.zip.DataFormatException;
import java.util.zip.Inflater;

/**
 * The zip file that {@code torch.save} writes since 1.6: {@code PREFIX/data.pkl}, one {@code PREFIX/data/KEY} per storage,
 * {@code PREFIX/byteorder} and entries of no interest here. Entries are stored as they are; a re-packed archive may have
 * compressed them. Checksums are compared when an entry is read.
 */
final class TorchArchive {
    private static final String PICKLE = "data.pkl";
    private static final int LONGEST_PICKLE = 16 << 20;
    private static final int CHUNK = 1 << 20;
    /** A pickled number that every file of the older form starts with. */
    private static final byte[] OLD_MAGIC = HexFormat.of().parseHex("80028a0a6cfc9c46f9206aa850192e");

    private static final String CONVERT =
            "open it with PyTorch 1.6 or later and save it again: torch.save(torch.load(F, weights_only=True), F)";

    private final Arena arena;
    private final MemorySegment file;
    private final Map<String, ZipDirectory.Entry> entries;
    private final String prefix;

    private TorchArchive(Arena arena, MemorySegment file, Map<String, ZipDirectory.Entry> entries, String prefix) {
        this.arena = arena;
        this.file = file;
        this.entries = entries;
        this.prefix = prefix;
    }

    /** @param arena of the mapped file; owns what is unpacked */
    static TorchArchive read(Arena arena, MemorySegment file) throws MalformedTorchException {
        byte[] start = file.asSlice(0, Math.min(file.byteSize(), 512)).toArray(ValueLayout.JAVA_BYTE);
        if (isOld(start)) {
            throw new MalformedTorchException("is a torch.save file of the form before PyTorch 1.6", CONVERT);
        }
        if (!ZipDirectory.startsLikeZip(start)) {
            throw new MalformedTorchException(
                    file.byteSize() == 0 ? "is empty" : "is not a zip file, as torch.save writes it",
                    "give a file that torch.save wrote, or safetensors");
        }
        Map<String, ZipDirectory.Entry> entries = ZipDirectory.read(file);
        List<String> pickles = entries.keySet().stream()
                .filter(name -> name.endsWith("/" + PICKLE) && name.indexOf('/') == name.lastIndexOf('/'))
                .toList();
        if (pickles.size() != 1) {
            throw new MalformedTorchException(
                    "is a zip file with " + (pickles.isEmpty() ? "no " : "more than one ") + PICKLE,
                    "give a file that torch.save wrote");
        }
        String pickle = pickles.getFirst();
        String prefix = pickle.substring(0, pickle.length() - PICKLE.length());
        if (entries.containsKey(prefix + "constants.pkl")) {
            throw new MalformedTorchException(
                    "is a TorchScript program", "save the state dict: torch.save(model.state_dict(), FILE)");
        }
        TorchArchive archive = new TorchArchive(arena, file, entries, prefix);
        ZipDirectory.Entry order = entries.get(prefix + "byteorder");
        if (order != null && (order.size() > 16 || !archive.text(order).equals("little"))) {
            throw new MalformedTorchException(
                    "was written on a big-endian machine", "save it again on a little-endian one");
        }
        return archive;
    }

    /** Besides the pickled magic number, the oldest form is a tar file. */
    private static boolean isOld(byte[] start) {
        return Arrays.equals(start, 0, Math.min(OLD_MAGIC.length, start.length), OLD_MAGIC, 0, OLD_MAGIC.length)
                || (start.length >= 262 && new String(start, 257, 5, StandardCharsets.ISO_8859_1).equals("ustar"));
    }

    private String text(ZipDirectory.Entry entry) throws MalformedTorchException {
        return new String(bytes(entry).toArray(ValueLayout.JAVA_BYTE), StandardCharsets.ISO_8859_1).strip();
    }

    byte[] pickle() throws MalformedTorchException {
        ZipDirectory.Entry entry = entries.get(prefix + PICKLE);
        if (entry == null) {
            throw new IllegalStateException(prefix);
        }
        if (entry.size() > LONGEST_PICKLE) {
            throw new MalformedTorchException(
                    "has a " + PICKLE + " of " + entry.size() + " bytes, more than " + LONGEST_PICKLE,
                    "save only the model's state dict");
        }
        return bytes(entry).toArray(ValueLayout.JAVA_BYTE);
    }

    /** Checks that a storage is there and has that many bytes. */
    void checkStorage(String key, long bytes) throws MalformedTorchException {
        ZipDirectory.Entry entry = entries.get(storage(key));
        if (entry == null) {
            throw new MalformedTorchException("lacks its zip entry " + SafetensorsHeader.shown(storage(key)));
        }
        if (entry.size() != bytes) {
            throw new MalformedTorchException("has " + entry.size() + " bytes in zip entry "
                    + SafetensorsHeader.shown(entry.name()) + " where its tensors need " + bytes);
        }
    }

    private String storage(String key) {
        return prefix + "data/" + key;
    }

    /** Bytes of a storage that {@link #checkStorage} has passed. */
    MemorySegment storageBytes(String key) throws MalformedTorchException {
        ZipDirectory.Entry entry = entries.get(storage(key));
        if (entry == null) {
            throw new IllegalStateException("unchecked storage " + key);
        }
        return bytes(entry);
    }

    private MemorySegment bytes(ZipDirectory.Entry entry) throws MalformedTorchException {
        MemorySegment stored = file.asSlice(entry.offset(), entry.stored());
        MemorySegment bytes = entry.deflated() ? inflate(entry, stored) : stored;
        if (entry.crc() != 0 && (int) crc(bytes) != entry.crc()) {
            throw new MalformedTorchException(
                    "is damaged: the checksum of zip entry " + SafetensorsHeader.shown(entry.name()) + " is wrong");
        }
        return bytes;
    }

    private static long crc(MemorySegment bytes) {
        CRC32 crc = new CRC32();
        for (long at = 0; at < bytes.byteSize(); at += CHUNK) {
            crc.update(bytes.asSlice(at, Math.min(CHUNK, bytes.byteSize() - at)).asByteBuffer());
        }
        return crc.getValue();
    }

    private MemorySegment inflate(ZipDirectory.Entry entry, MemorySegment stored) throws MalformedTorchException {
        String name = SafetensorsHeader.shown(entry.name());
        if (stored.byteSize() > Integer.MAX_VALUE || entry.size() > Integer.MAX_VALUE) {
            throw new MalformedTorchException(
                    "has compressed zip entry " + name + " of over 2 GB",
                    "save it again with torch.save, which does not compress");
        }
        Inflater inflater = new Inflater(true);
        try {
            inflater.setInput(stored.asByteBuffer());
            MemorySegment unpacked = arena.allocate(entry.size());
            ByteBuffer out = unpacked.asByteBuffer();
            while (out.hasRemaining() && !inflater.finished()) {
                if (inflater.inflate(out) == 0 && (inflater.needsInput() || inflater.needsDictionary())) {
                    break;
                }
            }
            // The end mark may follow the last byte, so ask for one byte more: there must be none.
            boolean more = !inflater.finished() && inflater.inflate(new byte[1]) != 0;
            if (out.hasRemaining() || more || !inflater.finished()) {
                throw new MalformedTorchException(
                        "has zip entry " + name + " that does not unpack to its " + entry.size() + " bytes");
            }
            return unpacked;
        } catch (DataFormatException e) {
            throw new MalformedTorchException("has zip entry " + name + " that does not unpack", e);
        } finally {
            inflater.end();
        }
    }
}
